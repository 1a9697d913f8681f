"""Functions that run Jobs and Pods."""

from kontinue import App, ExecutionContext, JobTemplate, SyncExecutionContext

app = App(group="jobs")
TEMPLATE = JobTemplate(image="busybox", command=["true"])


@app.function
async def migrate(ctx: ExecutionContext) -> list[int | None]:
    """Run a Job, and then a Pod."""
    job = await ctx.run_job(TEMPLATE, name="migrate")
    return [job.exit_code, (await ctx.run_pod(TEMPLATE, name="look")).exit_code]


@app.function
def migrate_sync(ctx: SyncExecutionContext) -> str:
    job = ctx.run_job(TEMPLATE, name="migrate")
    return job.message

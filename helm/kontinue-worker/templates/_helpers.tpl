{{/* Name of everything. 52 characters: the StatefulSet's controller adds 11 for a label, and pods a number. */}}
{{- define "kontinue-worker.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kontinue-worker.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kontinue-worker.labels" -}}
{{ include "kontinue-worker.selectorLabels" . }}
app.kubernetes.io/component: worker
app.kubernetes.io/part-of: kontinue
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "kontinue-worker.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kontinue-worker.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What no schema can say: values that must fit each other. */}}
{{- define "kontinue-worker.check" -}}
{{- if not .Values.image -}}
{{- fail "\n\nimage is required: build one with kontinue and your code (docs/deploying.md, step 1), push it where your cluster can pull it, and pass --set image=REGISTRY/NAME:TAG" -}}
{{- end -}}
{{- if not .Values.app -}}
{{- fail "\n\napp is required: where your App is, as MODULE:ATTRIBUTE, for example --set app=shop.jobs:app" -}}
{{- end -}}
{{- $longest := divf (subf .Values.lease.durationSeconds 5) 2 -}}
{{- if gt (float64 .Values.lease.renewSeconds) $longest -}}
{{- fail (printf "\n\nlease.renewSeconds %v is too long for lease.durationSeconds %v: at most %v, half of the duration less 5 s, because one lost renewal must not cost the Lease" .Values.lease.renewSeconds .Values.lease.durationSeconds $longest) -}}
{{- end -}}
{{- end -}}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	rtcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// informers follows ConfigMaps by a typed informer and Executions by a dynamic one.
func informers(ctx context.Context, c clients) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "before"}}
	if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	selected := func(options *metav1.ListOptions) { options.FieldSelector = "metadata.name!=kube-root-ca.crt" }
	typed := kubeinformers.NewSharedInformerFactoryWithOptions(
		c.typed, 0, kubeinformers.WithNamespace(c.namespace), kubeinformers.WithTweakListOptions(selected),
	)
	untyped := dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.dynamic, 0, c.namespace, nil)
	mapEvents, err := follow(typed.Core().V1().ConfigMaps().Informer())
	if err != nil {
		return nil, err
	}
	executionEvents, err := follow(untyped.ForResource(executions).Informer())
	if err != nil {
		return nil, err
	}
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	typed.WaitForCacheSync(ctx.Done())
	untyped.WaitForCacheSync(ctx.Done())
	report := map[string]any{"maps": []string{<-mapEvents}}

	resource := c.dynamic.Resource(executions).Namespace(c.namespace)
	seen := []string{}
	for _, step := range []func() error{
		func() error {
			_, err := resource.Create(ctx, execution("followed"), metav1.CreateOptions{})
			return err
		},
		func() error {
			current, err := resource.Get(ctx, "followed", metav1.GetOptions{})
			if err != nil {
				return err
			}
			current.SetLabels(map[string]string{"x": "y"})
			_, err = resource.Update(ctx, current, metav1.UpdateOptions{})
			return err
		},
		func() error { return resource.Delete(ctx, "followed", metav1.DeleteOptions{}) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
		select {
		case event := <-executionEvents:
			seen = append(seen, event)
		case <-ctx.Done():
			return nil, fmt.Errorf("saw only %v", seen)
		}
	}
	report["executions"] = seen
	return report, nil
}

func follow(informer cache.SharedIndexInformer) (<-chan string, error) {
	events := make(chan string, 100)
	tell := func(kind string, object any) {
		key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
		if err != nil {
			key = err.Error()
		}
		_, name, _ := cache.SplitMetaNamespaceKey(key)
		events <- kind + " " + name
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { tell("added", object) },
		UpdateFunc: func(_, object any) { tell("updated", object) },
		DeleteFunc: func(object any) { tell("deleted", object) },
	})
	return events, err
}

// leaderElection lets two candidates lead one after the other.
func leaderElection(ctx context.Context, c clients) (any, error) {
	first, release := context.WithCancel(ctx)
	defer release()
	leaders := make(chan string, 2)
	done := make(chan struct{})
	go func() {
		elect(first, c, "first", leaders)
		close(done)
	}()
	if name := <-leaders; name != "first" {
		return nil, errors.New("the only candidate did not lead")
	}
	second, stop := context.WithCancel(ctx)
	defer stop()
	go elect(second, c, "second", leaders)
	release()
	<-done
	select {
	case <-leaders:
	case <-ctx.Done():
		return nil, errors.New("the second candidate did not come to lead")
	}
	lease, err := c.typed.CoordinationV1().Leases(c.namespace).Get(ctx, "election", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"holder":      *lease.Spec.HolderIdentity,
		"transitions": *lease.Spec.LeaseTransitions,
		"duration":    *lease.Spec.LeaseDurationSeconds,
		"renewed":     !lease.Spec.RenewTime.IsZero(),
	}, nil
}

func elect(ctx context.Context, c clients, name string, leaders chan<- string) {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "election", Namespace: c.namespace},
		Client:     c.typed.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock:            lock,
		ReleaseOnCancel: true,
		LeaseDuration:   2 * time.Second,
		RenewDeadline:   1500 * time.Millisecond,
		RetryPeriod:     100 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { leaders <- name },
			OnStoppedLeading: func() {},
		},
	})
}

const finalizer = "example.com/client-go"

// reconciler answers each Execution with a ConfigMap of the same name, which it owns, and holds it by a finalizer.
type reconciler struct {
	client   client.Client
	released chan<- string
}

func (r reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "kontinue.cloud", Version: "v1alpha1", Kind: "Execution"})
	if err := r.client.Get(ctx, request.NamespacedName, object); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if object.GetDeletionTimestamp() != nil {
		before := object.DeepCopy()
		if controllerutil.RemoveFinalizer(object, finalizer) {
			if err := r.client.Patch(ctx, object, client.MergeFrom(before)); err != nil {
				return reconcile.Result{}, client.IgnoreNotFound(err)
			}
			r.released <- object.GetName()
		}
		return reconcile.Result{}, nil
	}
	if controllerutil.AddFinalizer(object, finalizer) {
		return reconcile.Result{}, r.client.Update(ctx, object)
	}
	answer := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: object.GetName(), Namespace: object.GetNamespace()}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.client, answer, func() error {
		answer.Data = map[string]string{"generation": fmt.Sprint(object.GetGeneration())}
		return controllerutil.SetControllerReference(object, answer, r.client.Scheme())
	})
	return reconcile.Result{}, err
}

// controllerRuntime runs a manager with leader election and a cache of both kinds until its Execution is gone.
func controllerRuntime(ctx context.Context, c clients) (any, error) {
	ctrl.SetLogger(klog.NewKlogr())
	manager, err := ctrl.NewManager(c.config, ctrl.Options{
		Cache:                   rtcache.Options{DefaultNamespaces: map[string]rtcache.Config{c.namespace: {}}},
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		LeaderElection:          true,
		LeaderElectionID:        "manager",
		LeaderElectionNamespace: c.namespace,
	})
	if err != nil {
		return nil, err
	}
	watched := execution("")
	released := make(chan string, 10)
	err = builder.ControllerManagedBy(manager).For(watched).Owns(&corev1.ConfigMap{}).
		Complete(reconciler{manager.GetClient(), released})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(running) }()

	resource := c.dynamic.Resource(executions).Namespace(c.namespace)
	if _, err := resource.Create(ctx, execution("reconciled"), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	answer, err := eventually(ctx, func() (*corev1.ConfigMap, error) {
		return maps.Get(ctx, "reconciled", metav1.GetOptions{})
	})
	if err != nil {
		return nil, fmt.Errorf("the controller did not answer: %w", err)
	}
	if err := resource.Delete(ctx, "reconciled", metav1.DeleteOptions{}); err != nil {
		return nil, err
	}
	name := <-released
	_, err = eventually(ctx, func() (bool, error) {
		_, err := maps.Get(ctx, "reconciled", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, errors.New("the ConfigMap is still there")
	})
	if err != nil {
		return nil, err
	}
	stop()
	if err := <-ended; err != nil {
		return nil, err
	}
	lease, err := c.typed.CoordinationV1().Leases(c.namespace).Get(ctx, "manager", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"answer":   answer.Data,
		"owner":    answer.OwnerReferences[0].Kind,
		"blocks":   *answer.OwnerReferences[0].BlockOwnerDeletion,
		"released": name,
		"elected":  lease.Spec.RenewTime != nil,
	}, nil
}

func eventually[T any](ctx context.Context, probe func() (T, error)) (T, error) {
	for {
		value, err := probe()
		if err == nil || ctx.Err() != nil {
			return value, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

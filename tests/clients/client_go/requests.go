package main

import (
	"context"
	"sort"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

var executions = schema.GroupVersionResource{Group: "kontinue.cloud", Version: "v1alpha1", Resource: "executions"}

func execution(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kontinue.cloud/v1alpha1",
		"kind":       "Execution",
		"metadata":   map[string]any{"name": name},
		"spec":       map[string]any{"function": "hello"},
	}}
}

// typedClient writes and reads a ConfigMap and a Secret with protobuf bodies.
func typedClient(ctx context.Context, c clients) (any, error) {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	created, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "typed", Labels: map[string]string{"made": "typed"}},
		Data:       map[string]string{"a": "1"},
		BinaryData: map[string][]byte{"b": {0, 1, 255}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	_, again := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "typed"}}, metav1.CreateOptions{})
	stale := created.DeepCopy()
	created.Data["a"] = "2"
	updated, err := maps.Update(ctx, created, metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	_, conflict := maps.Update(ctx, stale, metav1.UpdateOptions{})
	patched, err := maps.Patch(
		ctx, "typed", types.StrategicMergePatchType, []byte(`{"data":{"c":"3"}}`), metav1.PatchOptions{},
	)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "typed-"}, StringData: map[string]string{"k": "v"}}
	stored, err := c.typed.CoreV1().Secrets(c.namespace).Create(ctx, secret, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "made=typed"})
	if err != nil {
		return nil, err
	}
	uid := types.UID("other")
	preconditions := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	precondition := maps.Delete(ctx, "typed", preconditions)
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "made=typed"}); err != nil {
		return nil, err
	}
	_, missing := maps.Get(ctx, "typed", metav1.GetOptions{})
	return map[string]any{
		"updated":       updated.Data,
		"binary":        updated.BinaryData,
		"patched":       patched.Data,
		"secret":        stored.Data,
		"secretType":    stored.Type,
		"listed":        len(list.Items),
		"alreadyExists": apierrors.IsAlreadyExists(again),
		"conflict":      apierrors.IsConflict(conflict),
		"precondition":  apierrors.IsConflict(precondition),
		"notFound":      apierrors.IsNotFound(missing),
	}, nil
}

// dynamicClient writes and reads Executions as unstructured objects.
func dynamicClient(ctx context.Context, c clients) (any, error) {
	client := c.dynamic.Resource(executions).Namespace(c.namespace)
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		if _, err := client.Create(ctx, execution(name), metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	_, invalid := client.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kontinue.cloud/v1alpha1", "kind": "Execution", "metadata": map[string]any{"name": "bad"},
	}}, metav1.CreateOptions{})
	paged := []string{}
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.List(ctx, options)
	})
	pages.PageSize = 2
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		paged = append(paged, object.(*unstructured.Unstructured).GetName())
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		current, err := client.Get(ctx, "a", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(current.Object, "Failed", "status", "phase"); err != nil {
			return err
		}
		_, err = client.UpdateStatus(ctx, current, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	labelled, err := client.Patch(
		ctx, "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{},
	)
	if err != nil {
		return nil, err
	}
	phase, _, _ := unstructured.NestedString(labelled.Object, "status", "phase")
	background := metav1.DeletePropagationBackground
	if err := client.Delete(ctx, "b", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		return nil, err
	}
	selected, err := client.List(ctx, metav1.ListOptions{LabelSelector: "x in (y,z)"})
	if err != nil {
		return nil, err
	}
	all, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"paged":      paged,
		"invalid":    apierrors.IsInvalid(invalid),
		"phase":      phase,
		"generation": labelled.GetGeneration(),
		"selected":   len(selected.Items),
		"left":       len(all.Items),
	}, nil
}

// serverSideApply applies as two managers, which collide, and as the typed apply configurations do.
func serverSideApply(ctx context.Context, c clients) (any, error) {
	client := c.dynamic.Resource(executions).Namespace(c.namespace)
	object := execution("applied")
	object.SetLabels(map[string]string{"owner": "one", "kept": "yes"})
	if _, err := client.Apply(ctx, "applied", object, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return nil, err
	}
	other := execution("applied")
	other.SetLabels(map[string]string{"owner": "two"})
	_, conflict := client.Apply(ctx, "applied", other, metav1.ApplyOptions{FieldManager: "two"})
	forced, err := client.Apply(ctx, "applied", other, metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil {
		return nil, err
	}
	object.SetLabels(nil)
	removed, err := client.Apply(ctx, "applied", object, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		return nil, err
	}
	wanted := applycorev1.ConfigMap("applied", c.namespace).WithData(map[string]string{"a": "1"})
	typed, err := c.typed.CoreV1().ConfigMaps(c.namespace).Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: "typed"})
	if err != nil {
		return nil, err
	}
	managers := []string{}
	for _, entry := range removed.GetManagedFields() {
		managers = append(managers, entry.Manager)
	}
	sort.Strings(managers)
	return map[string]any{
		"conflict": apierrors.IsConflict(conflict),
		"forced":   forced.GetLabels(),
		"removed":  removed.GetLabels(),
		"managers": managers,
		"typed":    typed.Data,
	}, nil
}

// discoverResources asks which resources there are and maps kinds to them.
func discoverResources(_ context.Context, c clients) (any, error) {
	cached := memory.NewMemCacheClient(c.typed.Discovery())
	version, err := cached.ServerVersion()
	if err != nil {
		return nil, err
	}
	_, lists, err := cached.ServerGroupsAndResources()
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			found[list.GroupVersion+"/"+resource.Name] = true
		}
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "kontinue.cloud", Kind: "Execution"})
	if err != nil {
		return nil, err
	}
	short, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: "cm"})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"hasVersion": version.Major != "",
		"executions": found["kontinue.cloud/v1alpha1/executions"],
		"status":     found["kontinue.cloud/v1alpha1/executions/status"],
		"leases":     found["coordination.k8s.io/v1/leases"],
		"resource":   mapping.Resource.Resource,
		"scope":      mapping.Scope.Name(),
		"short":      short.Resource,
	}, nil
}

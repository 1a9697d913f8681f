// Client-go and controller-runtime, unmodified, against the API server of a kubeconfig. Each check reports what it saw
// in one JSON object on stdout; what is asserted stands in test_client_go.py, and is the same for every server.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// clients are what the checks use, all for one namespace.
type clients struct {
	config    *rest.Config
	typed     kubernetes.Interface
	dynamic   dynamic.Interface
	namespace string
}

var checks = map[string]func(context.Context, clients) (any, error){
	"typed":              typedClient,
	"dynamic":            dynamicClient,
	"apply":              serverSideApply,
	"informers":          informers,
	"leader-election":    leaderElection,
	"discovery":          discoverResources,
	"controller-runtime": controllerRuntime,
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: client-go KUBECONFIG NAMESPACE CHECK")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace, name string) error {
	check, ok := checks[name]
	if !ok {
		return fmt.Errorf("there is no check %q", name)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // the limits of a client are not what is tested
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = "application/vnd.kubernetes.protobuf"
	protobuf.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	typed, err := kubernetes.NewForConfig(protobuf)
	if err != nil {
		return err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	report, err := check(ctx, clients{config, typed, untyped, namespace})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

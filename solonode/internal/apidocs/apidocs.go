// Package apidocs publishes the OpenAPI documents of the API server when
// somebody asks for them.
//
// Upstream (Kubernetes 1.36) builds the documents of all resources in each
// server of its chain while it starts, and keeps schemas and JSON for good: 42
// of 104 MB of live heap, on a node where often nobody ever asks. Here the
// servers start without them; docs/adr/0011 has the measurements. The first
// request for /openapi/v3 builds and publishes that version (27 MB) and is
// answered a second later; after an idle time the memory is given back. Version
// 2, for old clients, is built at its first request and stays (about 20 MB).
//
// It owns when the documents exist. What is in them, who merges those of custom
// resources and of aggregated servers, and how they are served is upstream's.
// Tested with a real control plane in package node.
package apidocs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	listers "k8s.io/client-go/listers/admissionregistration/v1"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const (
	pathV2 = "/openapi/v2"
	pathV3 = "/openapi/v3"
	// idleLimit is longer than the pauses of a person at work with kubectl.
	idleLimit = 10 * time.Minute
)

// Documents are those of one chain of servers.
type Documents struct {
	v2     *common.Config
	v3     *common.OpenAPIV3Config
	core   *genericapiserver.GenericAPIServer // built-in resources
	custom *genericapiserver.GenericAPIServer // resources of CustomResourceDefinitions
	client clientset.Interface
	// policies make the API server itself a reader of the documents.
	policies listers.MutatingAdmissionPolicyLister
	ctx      context.Context //nolint:containedctx // the life of the servers

	mu      sync.Mutex
	current *edition // of version 3, nil while nobody asks
	idle    *time.Timer
}

// Configure makes the servers of config start without documents. Attach must
// follow when the chain has been made of it.
func Configure(config *app.Config) *Documents {
	generic := config.KubeAPIs.ControlPlane.Generic
	policies := config.KubeAPIs.ControlPlane.VersionedInformers.Admissionregistration().V1().MutatingAdmissionPolicies()
	d := &Documents{v2: generic.OpenAPIConfig, v3: generic.OpenAPIV3Config, policies: policies.Lister()}
	// Left to itself, the first builder stores a closure here that keeps that
	// builder, and with it the schemas of all types (17 MB for the two).
	d.v2.GetOperationIDAndTagsFromRoute, d.v3.GetOperationIDAndTagsFromRoute = operation, operation
	generic.SkipOpenAPIInstallation = true
	config.ApiExtensions.GenericConfig.SkipOpenAPIInstallation = true
	// The aggregator, first of the chain, sees each request after
	// authentication and authorization.
	front := &config.Aggregator.GenericConfig.Config
	build := front.BuildHandlerChainFunc
	front.BuildHandlerChainFunc = func(handler http.Handler, c *genericapiserver.Config) http.Handler {
		return build(d.onDemand(handler), c)
	}
	return d
}

// Attach registers the handlers with the two servers behind the aggregator.
// The documents' informers live until ctx ends.
func (d *Documents) Attach(ctx context.Context, aggregator *genericapiserver.GenericAPIServer) error {
	var ok bool
	if d.core, ok = aggregator.NextDelegate().(*genericapiserver.GenericAPIServer); !ok {
		return fmt.Errorf("openapi: unknown server %T behind the aggregator", aggregator.NextDelegate())
	}
	if d.custom, ok = d.core.NextDelegate().(*genericapiserver.GenericAPIServer); !ok {
		return fmt.Errorf("openapi: unknown server %T for custom resources", d.core.NextDelegate())
	}
	client, err := clientset.NewForConfig(aggregator.LoopbackClientConfig)
	if err != nil {
		return fmt.Errorf("openapi: %w", err)
	}
	d.ctx, d.client = ctx, client
	d.idle = time.AfterFunc(idleLimit, d.withdraw)
	parts := map[*genericapiserver.GenericAPIServer]func(*edition) *part{
		d.core:   func(e *edition) *part { return &e.core },
		d.custom: func(e *edition) *part { return &e.custom },
	}
	for server, part := range parts {
		handler := d.partHandler(part)
		mux := server.Handler.NonGoRestfulMux
		mux.Handle(pathV3, handler)
		mux.HandlePrefix(pathV3+"/", handler)
	}
	v2 := sync.OnceValues(d.buildV2)
	d.core.Handler.NonGoRestfulMux.Handle(pathV2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		core, _ := v2()
		core.ServeHTTP(w, r)
	}))
	d.custom.Handler.NonGoRestfulMux.Handle(pathV2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, custom := v2()
		custom.ServeHTTP(w, r)
	}))
	return nil
}

// Started drops the schemas that only the start of the servers needed.
func (d *Documents) Started() { d.v3.Definitions = nil }

// partHandler serves one server's part of version 3. The aggregator fetches
// its index once a second, and forgets a server for good that has none.
func (d *Documents) partHandler(of func(*edition) *part) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		current := d.current
		d.mu.Unlock()
		switch {
		case current != nil && current.isBuilt():
			part := of(current)
			part.handler.ServeHTTP(w, r)
			if r.URL.Path == pathV3 {
				part.fetched()
			}
		case r.URL.Path == pathV3:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"paths":{}}`) // the reader is this process
		default:
			http.NotFound(w, r)
		}
	})
}

// operation is what the builders do by default.
func operation(route common.Route) (string, []string, error) {
	adapter, ok := route.(*restfuladapter.RouteAdapter)
	if !ok {
		return "", nil, fmt.Errorf("openapi: unknown route %T", route)
	}
	return openapi.GetOperationIDAndTags(adapter.Route)
}

// wanted tells whether somebody is going to read the answer. The admission of
// mutating policies asks for the index every five seconds, and reads on only
// when there is a policy.
func (d *Documents) wanted(r *http.Request) bool {
	if r.URL.Path != pathV3 && !strings.HasPrefix(r.URL.Path, pathV3+"/") {
		return false
	}
	if info, ok := request.UserFrom(r.Context()); !ok || info.GetName() != user.APIServerUser {
		return true
	}
	policies, err := d.policies.List(labels.Everything())
	return err != nil || len(policies) > 0
}

// onDemand holds requests for version 3 until the aggregator knows of it.
func (d *Documents) onDemand(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.wanted(r) {
			if err := d.publish().await(r.Context()); err != nil {
				http.Error(w, "OpenAPI documents: "+err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// publish gives the current edition, a new one if there is none.
func (d *Documents) publish() *edition {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.idle.Reset(idleLimit)
	if d.current == nil {
		ctx, stop := context.WithCancel(d.ctx)
		d.current = newEdition(stop)
		go d.current.build(ctx, d)
	}
	return d.current
}

// withdraw forgets the current edition.
func (d *Documents) withdraw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current != nil {
		d.current.stop()
		d.current = nil
	}
}

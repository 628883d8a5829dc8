package apidocs

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	customv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi"
	customv3 "k8s.io/apiextensions-apiserver/pkg/controller/openapiv3"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/client-go/tools/cache"
	aggregatorv2 "k8s.io/kube-aggregator/pkg/controllers/openapi/aggregator"
	aggregatorv3 "k8s.io/kube-aggregator/pkg/controllers/openapiv3/aggregator"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// customLimit bounds the wait for custom resources. One whose schema upstream
// cannot publish is never there.
const customLimit = 5 * time.Second

// edition is version 3 from a request until the idle limit.
type edition struct {
	stop         context.CancelFunc
	built        chan struct{} // closed when the handlers below are set
	core, custom part
}

// part is what one server publishes.
type part struct {
	handler http.Handler
	known   chan struct{} // closed when the aggregator has fetched the index
	fetched func()
}

func newPart() part {
	known := make(chan struct{})
	return part{known: known, fetched: sync.OnceFunc(func() { close(known) })}
}

func newEdition(stop context.CancelFunc) *edition {
	return &edition{stop: stop, built: make(chan struct{}), core: newPart(), custom: newPart()}
}

func (e *edition) isBuilt() bool {
	select {
	case <-e.built:
		return true
	default:
		return false
	}
}

// await returns when the aggregator knows both parts. It fetches an index under
// the lock that its handlers take, so they see what was fetched last.
func (e *edition) await(ctx context.Context) error {
	for _, known := range []chan struct{}{e.core.known, e.custom.known} {
		select {
		case <-known:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// build makes the handlers. Custom resources are followed until ctx ends.
func (e *edition) build(ctx context.Context, d *Documents) {
	// Without this map each of the 60 groups would make one of its own.
	config := *d.v3
	config.Definitions = config.GetDefinitions(func(name string) spec.Ref {
		definition, _ := config.GetDefinitionName(name)
		return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(definition))
	})
	api := routes.OpenAPI{V3Config: &config}
	core, custom := mux.NewPathRecorderMux("openapi v3"), mux.NewPathRecorderMux("openapi v3 of custom resources")
	api.InstallV3(d.core.Handler.GoRestfulContainer, core)
	service := api.InstallV3(d.custom.Handler.GoRestfulContainer, custom)
	definitions := d.customResources(ctx, func(informer informers.CustomResourceDefinitionInformer) {
		go customv3.NewController(informer).Run(service, ctx.Done())
	})
	awaitCustom(ctx, definitions, func() func(group, version string) bool {
		downloader := aggregatorv3.NewDownloader()
		index, _, err := downloader.OpenAPIV3Root(custom)
		return func(group, version string) bool {
			return err == nil && index.Paths["apis/"+group+"/"+version].ServerRelativeURL != ""
		}
	})
	e.core.handler, e.custom.handler = core, custom
	close(e.built)
}

// buildV2 gives the handlers of version 2.
func (d *Documents) buildV2() (http.Handler, http.Handler) {
	api := routes.OpenAPI{Config: d.v2}
	core, custom := mux.NewPathRecorderMux("openapi v2"), mux.NewPathRecorderMux("openapi v2 of custom resources")
	api.InstallV2(d.core.Handler.GoRestfulContainer, core)
	service, static := api.InstallV2(d.custom.Handler.GoRestfulContainer, custom)
	definitions := d.customResources(d.ctx, func(informer informers.CustomResourceDefinitionInformer) {
		go customv2.NewController(informer).Run(static, service, d.ctx.Done())
	})
	awaitCustom(d.ctx, definitions, func() func(group, version string) bool {
		downloader := aggregatorv2.NewDownloader()
		swagger, _, _, err := downloader.Download(custom, "")
		return func(group, version string) bool {
			if err != nil || swagger == nil || swagger.Paths == nil {
				return false
			}
			_, found := swagger.Paths.Paths["/apis/"+group+"/"+version+"/"]
			return found
		}
	})
	return core, custom
}

// customResources starts follow with an informer, and returns the definitions
// when they are known.
func (d *Documents) customResources(ctx context.Context, follow func(informers.CustomResourceDefinitionInformer)) []*apiextensionsv1.CustomResourceDefinition {
	factory := externalversions.NewSharedInformerFactory(d.client, 0)
	informer := factory.Apiextensions().V1().CustomResourceDefinitions()
	synced := informer.Informer().HasSynced
	follow(informer)
	factory.Start(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), synced)
	definitions, err := informer.Lister().List(labels.Everything())
	if err != nil {
		return nil // a lister of a cache has no errors
	}
	return definitions
}

// awaitCustom waits until the versions of definitions are published.
func awaitCustom(ctx context.Context, definitions []*apiextensionsv1.CustomResourceDefinition, snapshot func() func(group, version string) bool) {
	ctx, cancel := context.WithTimeout(ctx, customLimit)
	defer cancel()
	for !allPublished(definitions, snapshot()) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

func allPublished(definitions []*apiextensionsv1.CustomResourceDefinition, published func(group, version string) bool) bool {
	for _, definition := range definitions {
		if !apihelpers.IsCRDConditionTrue(definition, apiextensionsv1.Established) {
			continue
		}
		for _, version := range definition.Spec.Versions {
			if version.Served && !published(definition.Spec.Group, version.Name) {
				return false
			}
		}
	}
	return true
}

// Package apistorage gives the resources of the API server one connection to
// the datastore.
//
// Upstream (Kubernetes 1.36, storagebackend/factory) dials etcd once for each
// of about 60 resources, so that a cluster's load spreads over connections. On
// the socket of a datastore in the same process that buys nothing and costs, on
// both ends, transports with their buffers and goroutines: with one connection
// an idle control plane has 3670 goroutines instead of 4190 and 6 MB less
// resident. The gRPC metrics and trace spans of these clients are left out; the
// latencies of the requests (etcd_request_duration_seconds) are counted as ever.
//
// It owns which client a resource's storage gets; the storage itself and its
// cache are upstream's. Every resource keeps a watch stream of its own: a
// progress notification is for a whole stream, and the datastore withholds it
// until the slowest watch of the stream has caught up. Tested by the life of a
// real control plane in package node.
package apistorage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"
)

// dialTimeout is upstream's.
const dialTimeout = 20 * time.Second

// Connection is the shared one.
type Connection struct {
	client *clientv3.Client
}

// Dial connects to the servers, for example "unix:///run/kine.sock".
func Dial(ctx context.Context, servers []string) (*Connection, error) {
	client, err := clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: servers, DialTimeout: dialTimeout,
		// As upstream: an error here names the cause.
		DialOptions: []grpc.DialOption{grpc.WithBlock()},
	})
	if err != nil {
		return nil, fmt.Errorf("datastore client: %w", err)
	}
	// Upstream asks each new client; the answer is for the whole process.
	feature.DefaultFeatureSupportChecker.CheckClient(ctx, client, storage.RequestWatchProgress)
	return &Connection{client: client}, nil
}

// Close ends the connection after the last storage has been destroyed.
func (c *Connection) Close() error {
	err := c.client.Close()
	if errors.Is(err, context.Canceled) {
		return nil // the context of Dial ended first
	}
	return err
}

// Getter is a generic.RESTOptionsGetter whose storages use the connection.
type Getter struct {
	generic.RESTOptionsGetter
	Connection *Connection
	Uncached   map[schema.GroupResource]bool // resources without a watch cache
}

// GetRESTOptions are upstream's but for the storage they make.
func (g Getter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := g.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err != nil {
		return options, err
	}
	options.Decorator = g.Connection.cached
	if g.Uncached[resource] {
		options.Decorator = g.Connection.plain
	}
	return options, nil
}

// plain is generic.UndecoratedStorage on the connection.
func (c *Connection) plain(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	return c.raw(config, prefix, newFunc, newListFunc)
}

// cached is registry.StorageWithCacher on the connection.
func (c *Connection) cached(config *storagebackend.ConfigForResource, prefix string, keyFunc func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, attributes storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	store, destroyStore, err := c.raw(config, prefix, newFunc, newListFunc)
	if err != nil {
		return nil, nil, err
	}
	watchCache, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: store, Versioner: storage.APIObjectVersioner{}, GroupResource: config.GroupResource,
		EventsHistoryWindow: config.EventsHistoryWindow, ResourcePrefix: prefix, KeyFunc: keyFunc, NewFunc: newFunc,
		NewListFunc: newListFunc, GetAttrsFunc: attributes, IndexerFuncs: triggers, Indexers: indexers, Codec: config.Codec,
	})
	if err != nil {
		destroyStore()
		return nil, nil, err
	}
	delegator := cacher.NewCacheDelegator(watchCache, store)
	destroy := sync.OnceFunc(func() {
		delegator.Stop()
		watchCache.Stop()
		destroyStore()
	})
	return delegator, destroy, nil
}

// raw is factory.Create without a connection, a compactor (the datastore
// compacts by itself) and a size monitor (off) for each resource.
func (c *Connection) raw(config *storagebackend.ConfigForResource, prefix string, newFunc, newListFunc func() runtime.Object,
) (storage.Interface, factory.DestroyFunc, error) {
	watcher := clientv3.NewWatcher(c.client)
	client := clientv3.NewCtxClient(c.client.Ctx())
	client.KV = etcd3.NewETCDLatencyTracker(c.client.KV)
	client.Lease, client.Maintenance, client.Watcher = c.client.Lease, c.client.Maintenance, watcher
	shared := &kubernetes.Client{Client: client}
	shared.Kubernetes = shared
	transformer := config.Transformer
	if transformer == nil {
		transformer = identity.NewEncryptCheckTransformer()
	}
	versioner := storage.APIObjectVersioner{}
	store, err := etcd3.New(shared, nil, config.Codec, newFunc, newListFunc, config.Prefix, prefix, config.GroupResource,
		transformer, config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		return nil, nil, errors.Join(err, watcher.Close())
	}
	// Subresources share a storage and destroy it again.
	destroy := sync.OnceFunc(func() {
		store.Close()
		_ = watcher.Close() // the error is the end of its context
	})
	return store, destroy, nil
}

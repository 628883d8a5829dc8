// Package loadbalancer gives Services of type LoadBalancer the node's address.
// kube-proxy then answers on that address for the Service's ports; there is no
// proxy process of its own and no IP is made up.
//
// Services with a loadBalancerClass belong to another controller and are left
// alone. Tested against a real API server by the node's integration test; the
// decision (Wanted) is pure.
package loadbalancer

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const requestLimit = 10 * time.Second

// Wanted is the status that svc should have, and whether it is ours to set.
func Wanted(svc *corev1.Service, address string) ([]corev1.LoadBalancerIngress, bool) {
	if svc.Spec.LoadBalancerClass != nil || svc.DeletionTimestamp != nil {
		return nil, false
	}
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil, len(svc.Status.LoadBalancer.Ingress) == 1 && svc.Status.LoadBalancer.Ingress[0].IP == address
	}
	mode := corev1.LoadBalancerIPModeVIP
	return []corev1.LoadBalancerIngress{{IP: address, IPMode: &mode}}, true
}

// Run follows all Services until ctx ends.
func Run(ctx context.Context, client kubernetes.Interface, address string, log func(string)) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Services().Informer()
	set := func(object any) {
		svc, ok := object.(*corev1.Service)
		if !ok {
			return
		}
		if err := update(ctx, client, svc, address); err != nil && ctx.Err() == nil {
			log(fmt.Sprintf("load balancer: service %s/%s: %v", svc.Namespace, svc.Name, err))
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, object any) { set(object) },
	})
	if err != nil {
		return fmt.Errorf("load balancer: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

func update(ctx context.Context, client kubernetes.Interface, svc *corev1.Service, address string) error {
	ingress, ours := Wanted(svc, address)
	if !ours || slices.EqualFunc(ingress, svc.Status.LoadBalancer.Ingress, sameIngress) {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	changed := svc.DeepCopy()
	changed.Status.LoadBalancer.Ingress = ingress
	_, err := client.CoreV1().Services(svc.Namespace).UpdateStatus(limit, changed, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // the newer object comes as its own event
	}
	return err
}

func sameIngress(a, b corev1.LoadBalancerIngress) bool {
	return a.IP == b.IP && a.Hostname == b.Hostname
}

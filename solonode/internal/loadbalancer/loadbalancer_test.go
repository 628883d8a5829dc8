package loadbalancer

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestWanted(t *testing.T) {
	service := func(kind corev1.ServiceType, class string, ips ...string) *corev1.Service {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: kind}}
		if class != "" {
			svc.Spec.LoadBalancerClass = &class
		}
		for _, ip := range ips {
			svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
		}
		return svc
	}
	tests := map[string]struct {
		svc  *corev1.Service
		ours bool
		want string
	}{
		"new":                     {service(corev1.ServiceTypeLoadBalancer, ""), true, "10.0.0.5"},
		"after an address change": {service(corev1.ServiceTypeLoadBalancer, "", "10.0.0.4"), true, "10.0.0.5"},
		"of another controller":   {service(corev1.ServiceTypeLoadBalancer, "metallb"), false, ""},
		"plain":                   {service(corev1.ServiceTypeClusterIP, ""), false, ""},
		"turned plain":            {service(corev1.ServiceTypeClusterIP, "", "10.0.0.5"), true, ""},
		"plain with foreign IP":   {service(corev1.ServiceTypeClusterIP, "", "10.0.0.9"), false, ""},
	}
	for name, test := range tests {
		ingress, ours := Wanted(test.svc, "10.0.0.5")
		got := ""
		if len(ingress) > 0 {
			got = ingress[0].IP
		}
		if ours != test.ours || got != test.want {
			t.Errorf("%s: got %q, %t", name, got, ours)
		}
	}
}

// Command coredns is upstream CoreDNS with only the plugins that a cluster's
// Corefile uses.
//
// Linked are those of the Corefile that the node deploys; loop and metrics, which
// upstream's Corefile for clusters has beyond that; and bind, hosts, log and
// rewrite, which people add when a name is to be changed or looked for.
//
// It owns the choice of plugins and nothing else: the server, its flags and its
// version are upstream's. Upstream's own main links some sixty plugins, among
// them the client libraries of four clouds; leaving them out makes the program
// a third smaller. The order in which plugins see a query is upstream's too
// (dnsserver.Directives); a Corefile that names a plugin which is not here is
// refused at start with the name of the directive.
//
// It is tested by TestCoreDNS in components/, which asks it over UDP, and by
// every boot of a whole node.
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"

	"github.com/coredns/coredns/coremain"
)

func main() {
	coremain.Run()
}

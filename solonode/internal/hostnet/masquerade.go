package hostnet

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/knftables"
)

const (
	// MasqueradeTable is the name upstream uses; a host's firewall may know it.
	MasqueradeTable = "kubesolo-masq"
	recheck         = time.Minute
)

// Masquerade keeps the rule that gives pod traffic to the outside the node's
// address. It is written again when somebody flushed it (firewall reloads do),
// and stays in the kernel after ctx ends, because pods run on. ready is called
// once, when the rule is in place.
func Masquerade(ctx context.Context, podCIDR string, ready func()) error {
	nft, err := knftables.New(knftables.IPv4Family, MasqueradeTable)
	if err != nil {
		return fmt.Errorf("masquerade: %w (needs the nft program and nf_tables)", err)
	}
	for first := true; ; first = false {
		rules, err := nft.ListRules(ctx, "postrouting")
		if err != nil || len(rules) != 1 {
			if err := nft.Run(ctx, masqueradeRules(nft, podCIDR)); err != nil && ctx.Err() == nil {
				return fmt.Errorf("masquerade: %w", err)
			}
		}
		if first {
			ready()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(recheck):
		}
	}
}

func masqueradeRules(nft knftables.Interface, podCIDR string) *knftables.Transaction {
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Add(&knftables.Chain{
		Name:     "postrouting",
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority),
	})
	tx.Flush(&knftables.Chain{Name: "postrouting"})
	tx.Add(&knftables.Rule{
		Chain:   "postrouting",
		Rule:    knftables.Concat("ip saddr", podCIDR, "ip daddr !=", podCIDR, "masquerade"),
		Comment: knftables.PtrTo("kubesolo: pod masquerade"),
	})
	return tx
}

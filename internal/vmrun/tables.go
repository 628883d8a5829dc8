package vmrun

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
)

// apiPort is where the node's API listens, in the guest.
const apiPort = 6443

// Node and Pod are what the tables show of them.
type Node struct {
	Name    string `json:"name"`
	Status  string `json:"status"`
	Version string `json:"version"`
	Address string `json:"address"`
	OS      string `json:"os"`
	Kernel  string `json:"kernel"`
}

// Pod is one line of the pods table.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Ready     string `json:"ready"`
	Status    string `json:"status"`
	Restarts  int    `json:"restarts"`
	Address   string `json:"address"`
}

type nodeList struct {
	Items []struct {
		Metadata struct{ Name string }
		Status   struct {
			Conditions []struct{ Type, Status string }
			Addresses  []struct{ Type, Address string }
			NodeInfo   struct{ KubeletVersion, OSImage, KernelVersion string }
		}
	}
}

type podList struct {
	Items []struct {
		Metadata struct{ Namespace, Name, DeletionTimestamp string }
		Status   struct {
			Phase, Reason, PodIP string
			ContainerStatuses    []struct {
				Ready        bool
				RestartCount int
				State        struct{ Waiting, Terminated *struct{ Reason string } }
			}
		}
	}
}

func listNodes(ctx context.Context, api API) ([]Node, error) {
	var list nodeList
	if err := api.Do(ctx, "GET", "/api/v1/nodes", nil, &list); err != nil {
		return nil, err
	}
	nodes := make([]Node, 0, len(list.Items))
	for _, item := range list.Items {
		info := item.Status.NodeInfo
		n := Node{Name: item.Metadata.Name, Status: "NotReady", Version: info.KubeletVersion, OS: info.OSImage, Kernel: info.KernelVersion}
		for _, c := range item.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				n.Status = "Ready"
			}
		}
		for _, a := range item.Status.Addresses {
			if a.Type == "InternalIP" && n.Address == "" {
				n.Address = a.Address
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func listPods(ctx context.Context, api API) ([]Pod, error) {
	var list podList
	if err := api.Do(ctx, "GET", "/api/v1/pods", nil, &list); err != nil {
		return nil, err
	}
	pods := make([]Pod, 0, len(list.Items))
	for _, item := range list.Items {
		p := Pod{Namespace: item.Metadata.Namespace, Name: item.Metadata.Name, Status: item.Status.Phase, Address: item.Status.PodIP}
		if item.Status.Reason != "" {
			p.Status = item.Status.Reason
		}
		ready := 0
		for _, c := range item.Status.ContainerStatuses {
			if c.Ready {
				ready++
			}
			p.Restarts += c.RestartCount
			// As kubectl: why a container does not run says more than the phase.
			for _, s := range []*struct{ Reason string }{c.State.Waiting, c.State.Terminated} {
				if s != nil && s.Reason != "" {
					p.Status = s.Reason
				}
			}
		}
		if item.Metadata.DeletionTimestamp != "" {
			p.Status = "Terminating"
		}
		p.Ready = fmt.Sprintf("%d/%d", ready, len(item.Status.ContainerStatuses))
		pods = append(pods, p)
	}
	return pods, nil
}

func printTables(w io.Writer, nodes []Node, pods []Pod) error {
	t := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATUS\tVERSION\tINTERNAL-IP\tOS\tKERNEL")
	for _, n := range nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Status, n.Version, n.Address, n.OS, n.Kernel)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "NAMESPACE\tPOD\tREADY\tSTATUS\tRESTARTS\tIP")
	for _, p := range pods {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", p.Namespace, p.Name, p.Ready, p.Status, p.Restarts, p.Address)
	}
	return t.Flush()
}

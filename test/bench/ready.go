package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/vmtest"
)

const (
	apiPort = 6443
	// memory of the machines, MiB: the least that must do for a node and a pod,
	// and the least that does.
	memory   = 1024
	smallest = 512
	// idle is how long the node is left alone before its memory is read:
	// what only the start needed is given back by then.
	idle = time.Minute
)

// meter prints what the node's memory is used for; it sees all processes.
const meter = `for p in ksinit:1 $(for n in containerd kubesolo ksagent; do echo $n:$(pidof $n); done); do ` +
	`echo rss-${p%%:*} $(sed -n "s/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p" /proc/${p##*:}/status); done; grep -E "^(MemTotal|MemAvailable|SwapTotal|SwapFree)" /proc/meminfo; ` +
	`echo zram-compressed $(($(awk "{print \$3}" /sys/block/zram0/mm_stat) / 1024))`

// ready measures a whole boot on an empty disk in as little memory as a node may
// need, and what that is used for, and then one in the least that does.
func (b *bench) ready(ctx context.Context) error {
	at, values, accel, err := b.bootToReady(ctx, memory)
	if err != nil {
		return err
	}
	const mb = 1e6 / 1024 // the values are in KiB
	b.add(figure{Name: "kernel start -> Ready with CoreDNS", Value: at, Unit: "s", Note: fmt.Sprintf("empty disk, 2 CPUs, %d MiB, %s", memory, accel)})
	b.add(figure{Name: "ksinit resident", Value: values["rss-ksinit"] / mb, Unit: "MB", Must: "12 MB", Aim: "6 MB"})
	for _, name := range []string{"containerd", "kubesolo", "ksagent"} {
		b.add(figure{Name: name + " resident", Value: values["rss-"+name] / mb, Unit: "MB"})
	}
	b.add(figure{Name: "memory in use at Ready + one pod", Value: (values["MemTotal"] - values["MemAvailable"]) / mb, Unit: "MB",
		Note: fmt.Sprintf("%d MiB; MemTotal - MemAvailable; root in RAM included", memory)})

	at, values, _, err = b.bootToReady(ctx, smallest)
	if err != nil {
		return err
	}
	b.add(figure{Name: "Ready + one pod in a machine with", Value: smallest, Unit: "MiB", Must: "1024 MiB", Aim: "512 MiB",
		Note: fmt.Sprintf("Ready %.0f s after the kernel's start", at)})
	b.add(figure{Name: "memory in use at Ready + one pod", Value: (values["MemTotal"] - values["MemAvailable"]) / mb, Unit: "MB",
		Note: fmt.Sprintf("%d MiB; beside it %.0f MB swapped into %.0f MB of these", smallest,
			(values["SwapTotal"]-values["SwapFree"])/mb, values["zram-compressed"]/mb)})
	return nil
}

// bootToReady boots a machine with so many MiB, and gives when it was Ready, by its
// own clock, and what the meter says after a time of rest.
func (b *bench) bootToReady(ctx context.Context, memory int) (at float64, values map[string]float64, accel string, err error) {
	fmt.Fprintf(b.log, "a boot to Ready on an empty disk in %d MiB, and %v of rest\n", memory, idle)
	path := filepath.Join(b.dir, fmt.Sprintf("ready-%d.img", memory))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return 0, nil, "", err
	}
	if err := os.Truncate(path, 8<<30); err != nil {
		return 0, nil, "", err
	}
	config := b.config(filepath.Join(b.build, "kubesolo-os.gz"), vmtest.Disk{Path: path})
	config.NIC = &vmtest.NIC{Forward: []int{apiPort}, Restrict: true}
	config.Memory = memory
	vm, err := vmtest.Start(ctx, config, nil)
	if err != nil {
		return 0, nil, "", err
	}
	defer vm.PowerCut()
	ctx, cancel := context.WithTimeout(ctx, 2*limit)
	defer cancel()
	e, err := vm.WaitEvent(ctx, func(e event.Event) bool { return e.Type == event.Ready })
	if err != nil {
		return 0, nil, "", err
	}
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return 0, nil, "", ctx.Err()
	}
	kubeconfig, err := vm.HostKubeconfig(ctx, apiPort)
	if err != nil {
		return 0, nil, "", err
	}
	api, err := kubeapi.Load(kubeconfig)
	if err != nil {
		return 0, nil, "", err
	}
	text, err := runPod(ctx, api, "meter", meter)
	if err != nil {
		return 0, nil, "", err
	}
	values = map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^([\w-]+):? +(\d+)`).FindAllStringSubmatch(text, -1) {
		if values[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			return 0, nil, "", err
		}
	}
	return e.Time, values, string(vm.Accel), nil
}

// runPod runs a script in a pod with all rights and gives its log.
func runPod(ctx context.Context, api *kubeapi.Client, name, script string) (string, error) {
	type object = map[string]any
	pod := object{
		"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": name},
		"spec": object{
			"restartPolicy": "Never", "hostPID": true,
			"containers": []object{{
				"name": name, "image": "docker.io/library/busybox:latest", "imagePullPolicy": "Never",
				"command": []string{"sh", "-c", script}, "securityContext": object{"privileged": true},
			}},
		},
	}
	const pods = "/api/v1/namespaces/default/pods"
	if err := api.Create(ctx, pods, pod, nil); err != nil {
		return "", err
	}
	for {
		var p struct{ Status struct{ Phase string } }
		if err := api.Get(ctx, pods+"/"+name, &p); err != nil {
			return "", err
		}
		switch p.Status.Phase {
		case "Succeeded":
			return api.Logs(ctx, "default", name, "")
		case "Failed":
			text, _ := api.Logs(ctx, "default", name, "")
			return "", fmt.Errorf("pod %s: %s", name, text)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return "", fmt.Errorf("pod %s: %w", name, ctx.Err())
		}
	}
}

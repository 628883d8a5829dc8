// Command bench prints the budgets of the design as a table and writes them to
// build/bench.json: sizes, memory, and the times of a boot, each ratio from
// one run in which the two sides take turns.
//
// It owns the copies of the initramfs that it boots. It never asserts: a slow
// machine is not a defect. The shell baseline is in test/baseline.
//
//	go run ./test/bench -n 3
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/vmtest"
)

// figure is one line of the table. Must and Aim are from the design, "" where
// it names none.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Must  string  `json:"must,omitempty"`
	Aim   string  `json:"aim,omitempty"`
	Note  string  `json:"note,omitempty"`
}

type bench struct {
	build string
	dir   string // private, removed at the end
	n     int
	log   io.Writer
	list  []figure
}

func main() {
	b := &bench{log: os.Stderr}
	flag.StringVar(&b.build, "build", "build", "`directory` with the image")
	flag.IntVar(&b.n, "n", 3, "`boots` of each side")
	noReady := flag.Bool("no-ready", false, "leave out the boots to Ready, and the update")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx, !*noReady); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// needs are the programs that a bench runs, with the boots to Ready and the update or
// without.
func needs(ready bool) []string {
	programs := []string{"qemu-system-x86_64", "unsquashfs"}
	if ready {
		programs = append(programs, "go", "mksquashfs", "mkfs.vfat", "mcopy")
	}
	return programs
}

func (b *bench) run(ctx context.Context, ready bool) error {
	say := func(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }
	if err := tool.New(nil, time.Now()).Need(ctx, say, needs(ready)...); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kubesolo-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	if err := vmtest.SettleAccelerator(ctx, filepath.Join(b.build, "vmlinuz")); err != nil {
		return err
	}
	if err := b.sizes(); err != nil {
		return err
	}
	if err := b.boots(ctx); err != nil {
		return err
	}
	if err := b.powerCuts(); err != nil {
		return err
	}
	if ready {
		if err := b.ready(ctx); err != nil {
			return err
		}
		if err := b.updates(ctx); err != nil {
			return err
		}
	}
	out, err := json.MarshalIndent(struct {
		Figures []figure `json:"figures"`
	}{b.list}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.build, "bench.json"), append(out, '\n'), 0o644); err != nil {
		return err
	}
	return b.print(os.Stdout)
}

func (b *bench) add(f figure) { b.list = append(b.list, f) }

func (b *bench) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "FIGURE\tVALUE\tMUST\tAIM\tNOTE")
	for _, f := range b.list {
		fmt.Fprintf(t, "%s\t%.2f %s\t%s\t%s\t%s\n", f.Name, f.Value, f.Unit, f.Must, f.Aim, f.Note)
	}
	return t.Flush()
}

// sizes are those of the files, and what each part costs in the ISO.
func (b *bench) sizes() error {
	const mb = 1e6
	info, err := os.Stat(filepath.Join(b.build, "kubesolo-os-amd64.iso"))
	if err != nil {
		return fmt.Errorf("%w: build it first with `make image`", err)
	}
	b.add(figure{Name: "ISO", Value: float64(info.Size()) / mb, Unit: "MB", Must: "100 MB", Aim: "64 MB"})
	text, err := os.ReadFile(filepath.Join(b.build, "sizes.json"))
	if err != nil {
		return err
	}
	var sizes struct {
		Parts []struct {
			Name              string
			Bytes, Compressed int64
		}
	}
	if err := json.Unmarshal(text, &sizes); err != nil {
		return fmt.Errorf("sizes.json: %w", err)
	}
	for _, p := range sizes.Parts {
		b.add(figure{Name: "  " + p.Name, Value: float64(p.Compressed) / mb, Unit: "MB", Note: fmt.Sprintf("%.1f MB unpacked", float64(p.Bytes)/mb)})
	}
	return b.initramfs()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

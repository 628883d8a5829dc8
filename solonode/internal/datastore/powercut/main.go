// Command powercut writes to the datastore of the node, and nothing else of
// it, so that the small VM tier (test/small) can cut the power under it: the
// same recovery, kine, SQLite and durability code, without Kubernetes.
//
//	powercut look DIR           print the state found in DIR, and end cleanly
//	powercut some DIR COUNT     print it, let each writer do so many operations,
//	                            and end as if killed
//	powercut write DIR DEVICE OFFSET
//	                            print it, then write until the power is cut
//
// Each of four writers does a fixed sequence of operations and, after each one
// that was acknowledged, writes its number straight to its own sector of the
// device at the offset. That write asks for no flush: in the log of the disk it
// shows when the acknowledgement was given, and forces nothing onto the medium.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"kubesolo.io/os/solonode/internal/datastore"
	"kubesolo.io/os/solonode/internal/recovery"
)

const writers = 4

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("powercut:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want look DIR, some DIR COUNT, or write DIR DEVICE OFFSET")
	}
	logrus.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := datastore.Config{File: filepath.Join(args[1], "kine", "state.db"), Socket: "/run/kine.sock"}
	var said []string
	err := recovery.Ensure(ctx, recovery.Config{
		File: cfg.File, Copies: func() ([]recovery.Copy, error) { return nil, nil },
		Log: func(line string) { said = append(said, line) },
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- datastore.Run(ctx, cfg) }()
	for cfg.Ready(ctx) != nil {
		select {
		case err := <-ended:
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + cfg.Socket}})
	if err != nil {
		return err
	}
	after, err := look(ctx, client, said)
	if err != nil {
		return err
	}
	switch len(args) {
	case 3:
		return some(ctx, client, after, args[2])
	case 4:
		return write(ctx, client, after, args[2], args[3])
	}
	cancel()
	return <-ended
}

// look prints, for each writer, after which of its operations the state is.
func look(ctx context.Context, client *clientv3.Client, said []string) ([writers]int, error) {
	var report struct {
		After [writers]int `json:"after"`
		Said  []string     `json:"said,omitempty"`
	}
	report.Said = said
	for w := range writers {
		found, err := observe(ctx, client, w)
		if err != nil {
			return report.After, err
		}
		report.After[w] = -1
		for n := max(found.last, found.counter, 0); n <= max(found.last, found.counter)+1; n++ {
			if expected(n) == found {
				report.After[w] = n
			}
		}
		if report.After[w] < 0 {
			return report.After, fmt.Errorf("writer %d: %+v is after no operation", w, found)
		}
	}
	text, err := json.Marshal(report)
	if err == nil {
		fmt.Printf("state %s\n", text)
	}
	return report.After, err
}

// some leaves the log unmerged, as the process ends with the store open.
func some(ctx context.Context, client *clientv3.Client, after [writers]int, count string) error {
	operations, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for w, n := range after {
		for i := range operations {
			if err := operation(ctx, client, w, n+1+i); err != nil {
				return fmt.Errorf("writer %d, operation %d: %w", w, n+1+i, err)
			}
		}
	}
	return nil
}

func write(ctx context.Context, client *clientv3.Client, after [writers]int, device, offset string) error {
	base, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return err
	}
	acks, err := openDirect(device)
	if err != nil {
		return err
	}
	failed := make(chan error, writers)
	var printing sync.Mutex
	for w, n := range after {
		go func() {
			for n++; ; n++ {
				err := operation(ctx, client, w, n)
				if err == nil {
					err = acks.write(base+int64(w)*sector, w, n)
				}
				if err != nil {
					failed <- fmt.Errorf("writer %d, operation %d: %w", w, n, err)
					return
				}
				printing.Lock()
				fmt.Printf("acknowledged %d %d\n", w, n)
				printing.Unlock()
			}
		}()
	}
	return <-failed
}

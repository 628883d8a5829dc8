package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// observed is what there is of one writer.
type observed struct {
	last    int // highest key
	keys    int
	counter int // value of its one key that is updated
}

// expected is what there must be after operation n: odd ones create the key of
// their number, multiples of ten delete the one five before, the others update
// the counter. No two numbers have the same result.
func expected(n int) observed {
	o := observed{keys: (n+1)/2 - n/10}
	if n > 0 {
		o.last = n - (n+1)%2
	}
	o.counter = n - n%2
	if o.counter%10 == 0 && o.counter > 0 {
		o.counter -= 2
	}
	return o
}

func prefix(w int) string { return fmt.Sprintf("/registry/writer%d/", w) }

func keyName(w, n int) string { return prefix(w) + fmt.Sprintf("keys/%08d", n) }

// value has a length and a content that tell whose it is.
func value(w, n int) string {
	return strings.Repeat(fmt.Sprintf("writer %d operation %d; ", w, n), 1+n*37%90)
}

func operation(ctx context.Context, client *clientv3.Client, w, n int) error {
	var compare clientv3.Cmp
	var op clientv3.Op
	key := keyName(w, n)
	switch {
	case n%2 == 1:
		compare, op = clientv3.Compare(clientv3.ModRevision(key), "=", 0), clientv3.OpPut(key, value(w, n))
	default:
		key = prefix(w) + "counter"
		if n%10 == 0 {
			key = keyName(w, n-5)
		}
		got, err := client.Get(ctx, key)
		if err != nil {
			return err
		}
		var revision int64
		if len(got.Kvs) == 1 {
			revision = got.Kvs[0].ModRevision
		}
		compare, op = clientv3.Compare(clientv3.ModRevision(key), "=", revision), clientv3.OpPut(key, strconv.Itoa(n))
		if n%10 == 0 {
			op = clientv3.OpDelete(key)
		}
	}
	// As the API server writes: on this condition, or else what is there.
	answer, err := client.Txn(ctx).If(compare).Then(op).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return err
	}
	if !answer.Succeeded {
		return fmt.Errorf("%s is not as it was left", key)
	}
	return nil
}

func observe(ctx context.Context, client *clientv3.Client, w int) (observed, error) {
	var o observed
	keys, err := client.Get(ctx, prefix(w)+"keys/", clientv3.WithPrefix())
	if err != nil {
		return o, err
	}
	for _, kv := range keys.Kvs {
		n, err := strconv.Atoi(strings.TrimPrefix(string(kv.Key), prefix(w)+"keys/"))
		if err != nil {
			return o, err
		}
		if string(kv.Value) != value(w, n) {
			return o, fmt.Errorf("%s holds %.80q", kv.Key, kv.Value)
		}
		o.keys, o.last = o.keys+1, max(o.last, n)
	}
	counter, err := client.Get(ctx, prefix(w)+"counter")
	if err != nil || len(counter.Kvs) == 0 {
		return o, err
	}
	o.counter, err = strconv.Atoi(string(counter.Kvs[0].Value))
	return o, err
}

const sector = 512

// direct writes sectors past the page cache and without a flush.
type direct struct {
	file *os.File
}

func openDirect(device string) (direct, error) {
	file, err := os.OpenFile(device, os.O_WRONLY|unix.O_DIRECT, 0)
	return direct{file}, err
}

func (d direct) write(offset int64, w, n int) error {
	// O_DIRECT wants memory that is aligned to the sector.
	room := make([]byte, 2*sector)
	skip := (sector - int(uintptr(unsafe.Pointer(&room[0]))%sector)) % sector
	block := room[skip : skip+sector]
	copy(block, fmt.Sprintf("acknowledged %d %d\n", w, n))
	_, err := d.file.WriteAt(block, offset)
	return err
}

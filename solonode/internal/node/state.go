package node

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"kubesolo.io/os/solonode/internal/datastore"
	"kubesolo.io/os/solonode/internal/lifecycle"
	"kubesolo.io/os/solonode/internal/options"
	"kubesolo.io/os/solonode/internal/recovery"
	"kubesolo.io/os/solonode/internal/statecopy"
)

// lockWait outlives a `kubesolo state restore` that is at work on the files.
const lockWait = 30 * time.Second

// StateStore is where a node with these options has its database and copies.
func StateStore(opts options.Options) statecopy.Store {
	return statecopy.Store{
		Dir: opts.StateCopies, Keep: opts.StateCopiesKeep,
		File: filepath.Join(opts.Path, "kine", "state.db"),
		// Tokens in Secrets are valid only with the key that signed them;
		// nothing else in the database depends on a file beside it.
		Key: statecopy.Fingerprint(filepath.Join(opts.Path, "pki", "apiserver", "service-account.key")),
	}
}

// copyInterval is 0 where scheduled copies are of no use.
func (n *node) copyInterval() time.Duration {
	dir := n.Options.StateCopies
	switch {
	case n.Options.StateCopyEvery == 0:
		return 0
	case dir == "":
		n.Log("database: no copies: no directory is set for them")
		return 0
	case statecopy.InMemory(dir):
		n.Log("database: no copies: " + dir + " is in memory, where they outlive nothing")
		return 0
	}
	return n.Options.StateCopyEvery
}

func (n *node) datastore() datastore.Config {
	return datastore.Config{File: n.keeper.Store.File, Socket: n.socket("kine.sock"), Opened: n.keeper.Use}
}

// runDatastore makes the database one that can be opened, and serves it.
func (n *node) runDatastore(ctx context.Context, cfg datastore.Config) error {
	release, err := recovery.Lock(ctx, cfg.File, lockWait)
	if err != nil {
		return err
	}
	err = recovery.Ensure(ctx, recovery.Config{
		File: cfg.File, Copies: n.keeper.Store.Recoverable, Key: n.keeper.Store.Key, Log: n.Log,
	})
	if err == nil {
		err = datastore.Run(ctx, cfg)
	}
	return errors.Join(err, release())
}

// stateSocket takes requests for copies. It ends the node for a restore.
func (n *node) stateSocket() lifecycle.Component {
	return lifecycle.Component{
		Name: "state", Needs: []string{"datastore"}, StopTimeout: 2 * time.Second,
		Run: func(ctx context.Context) error {
			err := n.keeper.Serve(ctx, n.socket("state.sock"))
			if err != nil && !errors.Is(err, statecopy.ErrRestart) {
				n.Log(err.Error()) // a node without it is still a node
				<-ctx.Done()
				return nil
			}
			return err
		},
	}
}

// stateCopies makes copies of a node that has everything it needs.
func (n *node) stateCopies(needs []string) lifecycle.Component {
	return lifecycle.Component{
		Name: "copies", Needs: needs, Run: n.keeper.Run, StopTimeout: time.Second,
	}
}

// Package registrytest runs a real container registry, distribution/v3, for a
// test, in the test's own process.
//
// It owns the registry's configuration: it keeps everything in memory, on a
// free port of 127.0.0.1, and may ask for a user and password. It never says
// anything and is linked into no program (package house looks). Its own tests
// are those of its users, update/source and updatepush.
package registrytest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"os"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// Options say what the registry is like.
type Options struct {
	// User and Password are asked for (HTTP basic); "" for none.
	User, Password string
	// Around, if set, wraps the registry's handler, to spoil its answers.
	Around func(http.Handler) http.Handler
}

// Start runs a registry until the test ends and returns its HOST:PORT, which
// speaks plain HTTP.
func Start(t *testing.T, o Options) string {
	t.Helper()
	logrus.SetOutput(io.Discard)
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": {}}}
	config.HTTP.Secret = "for tests" // of uploads in parts; without one it warns
	if o.User != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "htpasswd")
		if err := os.WriteFile(file, fmt.Appendf(nil, "%s:%s\n", o.User, hash), 0o600); err != nil {
			t.Fatal(err)
		}
		config.Auth = configuration.Auth{"htpasswd": {"realm": "updates", "path": file}}
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var handler http.Handler = handlers.NewApp(ctx, config)
	if o.Around != nil {
		handler = o.Around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

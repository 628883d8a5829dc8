package main

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"io"
	"os"

	"kubesolo.io/os/internal/update/source"
	"kubesolo.io/os/internal/updatepush"
)

const pushHelp = `ksimage push puts a signed repository into a container registry, as one artifact for each
tag; nodes with update.source oci://HOST/NAME read the tag of their channel. What is there
already is not sent again, and the tag moves last.

REFERENCE is HOST[:PORT]/NAME:TAG, with http:// before it for a registry without TLS, or
oci:DIRECTORY:TAG for an OCI layout to carry there.

Examples:
  ksimage push registry.example/kubesolo-os:stable
  ksimage push --repository /srv/updates --auth ~/.docker/config.json registry.example/kubesolo-os:stable
  ksimage push --cosign-key cosign.key registry.example/kubesolo-os:stable
  ksimage push oci:/media/stick/layout:stable`

// push is `ksimage push`.
func push(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flags("push", pushHelp)
	o := updatepush.Options{Registry: source.OCIOptions{HTTPOptions: source.HTTPOptions{Version: version}}}
	fs.StringVar(&o.Dir, "repository", "build/repository", "repository `directory`")
	fs.StringVar(&o.Registry.AuthFile, "auth", "", "docker configuration `file` with the user of the registry")
	fs.StringVar(&o.Registry.CAFile, "ca", "", "`file` with certificates (PEM) to trust beside those of the system")
	key := fs.String("cosign-key", "", "private key `file` (ECDSA P-256, PEM, not encrypted): sign as cosign does")
	reference, err := parseOne(fs, args)
	if err != nil {
		return err
	}
	if reference == "" {
		fmt.Fprintln(os.Stderr, "ksimage push: it wants a REFERENCE, such as registry.example/kubesolo-os:stable")
		return errUsage
	}
	o.Reference = reference
	if o.Created, err = epoch(ctx); err != nil {
		return err
	}
	if o.Key, err = cosignKey(*key); err != nil {
		return err
	}
	o.Progress = func(file string, size int64, sent bool) {
		what := "there"
		if sent {
			what = "sent"
		}
		fmt.Fprintf(stdout, "%-6s %9.2f MB  %s\n", what, float64(size)/1e6, file)
	}
	id, err := updatepush.Push(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s is %s\n", reference, id)
	return nil
}

func cosignKey(file string) (*ecdsa.PrivateKey, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, err := updatepush.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

package sshd

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/ssh"

	"kubesolo.io/os/internal/atomicfile"
)

// hostKey reads the node's host key, and makes it when there is none: once in
// the life of a data partition, as clients remember it. A key that cannot be
// kept or read is not replaced on disk, for the old one may come back; what is
// returned with the error is a key in memory.
func hostKey(path string) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		signer, parseErr := ssh.ParsePrivateKey(text)
		if parseErr == nil {
			return signer, nil
		}
		err = fmt.Errorf("%s is not a host key: %w: remove it to get a new one", path, parseErr)
	}
	_, private, keyErr := ed25519.GenerateKey(nil)
	if keyErr != nil {
		return nil, errors.Join(err, keyErr)
	}
	signer, keyErr := ssh.NewSignerFromKey(private)
	if keyErr != nil {
		return nil, errors.Join(err, keyErr)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return signer, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return signer, err
	}
	return signer, atomicfile.Write(path, pem.EncodeToMemory(block), 0o600)
}

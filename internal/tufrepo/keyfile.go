package tufrepo

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// testNote stands before the key in the files of test keys.
const testNote = "A test key of KubeSolo OS: everybody can compute it, and it protects nothing.\n"

// privateKey is a key that can sign.
type privateKey struct {
	id     string // of TUF: hex SHA-256 of the public key's canonical form
	public *metadata.Key
	signer signature.Signer
	secret ed25519.PrivateKey
	file   string // "" before it is written
}

func newPrivateKey(secret ed25519.PrivateKey) (privateKey, error) {
	public, err := metadata.KeyFromPublicKey(secret.Public())
	if err != nil {
		return privateKey{}, err
	}
	id, err := public.ID()
	if err != nil {
		return privateKey{}, err
	}
	signer, err := signature.LoadED25519Signer(secret)
	return privateKey{id: id, public: public, signer: signer, secret: secret}, err
}

// generate makes a key from the system's random numbers, or a test key from its name.
func generate(test bool, role string, number int, version int64) (privateKey, error) {
	if test {
		seed := sha256.Sum256(fmt.Appendf(nil, "KubeSolo OS test key: %s %d of root %d", role, number, version))
		return newPrivateKey(ed25519.NewKeyFromSeed(seed[:]))
	}
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return privateKey{}, err
	}
	return newPrivateKey(secret)
}

// keyFile is the name of a key's file.
func keyFile(role, id string) string { return role + "-" + id[:8] + ".pem" }

// save writes the key to a new file in dir that only its owner can read.
func (k *privateKey) save(dir, role string, test bool) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.secret)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if test {
		text = append([]byte(testNote), text...)
	}
	k.file = filepath.Join(dir, keyFile(role, k.id))
	f, err := os.OpenFile(k.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("new key: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("new key: %w", err)
	}
	return nil
}

// loadKeys reads every .pem of the directories, by key id.
func loadKeys(dirs []string) (map[string]privateKey, error) {
	keys := map[string]privateKey{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		for _, entry := range entries {
			if entry.IsDir() || !strings.HasSuffix(entry.Name(), ".pem") {
				continue
			}
			k, err := loadKey(filepath.Join(dir, entry.Name()))
			if err != nil {
				return nil, err
			}
			if _, twice := keys[k.id]; !twice {
				keys[k.id] = k
			}
		}
	}
	return keys, nil
}

func loadKey(file string) (privateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return privateKey{}, fmt.Errorf("key: %w", err)
	}
	k, err := parseKey(text)
	if err != nil {
		return privateKey{}, fmt.Errorf("key %s: %w", file, err)
	}
	k.file = file
	return k, nil
}

func parseKey(text []byte) (privateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return privateKey{}, errors.New("no PEM of type PRIVATE KEY: only unencrypted PKCS #8 is read")
	}
	secret, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return privateKey{}, err
	}
	ed, ok := secret.(ed25519.PrivateKey)
	if !ok {
		return privateKey{}, fmt.Errorf("a %T: only ed25519 is used", secret)
	}
	return newPrivateKey(ed)
}

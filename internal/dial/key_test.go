package dial

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// encryptedKeys are one key in the forms that OpenSSL writes, by the password "secret".
var encryptedKeys = map[string]string{
	"AES-256 SHA-256": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAju3qkuwl8HLAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEC9D9WdhZ1HgMo2jglt6/WMEgZB5
GpcDVyoOWDxmQnFEWlhrZArEeI0fqmsZ6pNLCUgSKzcIOyERGHi9MnZ358TEK7nF
mn/QM2nr112UHEpF5g3PeVdduRIflrIOnQFBqIofJbAtcHpHa6YZucv2ZoPRpzkR
vWCdWTpGxvqbqtvyfdHzYjzt/outV9Vy2J1LWKgfKu0fJV2NmUZ0uA1+Z9vgylk=
-----END ENCRYPTED PRIVATE KEY-----
`,
	"AES-128 SHA-1": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAg4mgzN8vzgXwICCAAw
HQYJYIZIAWUDBAECBBC+HF4/sS0XwpMqEIwVPsDCBIGQwwV1/eDJyu6/BkY1mPpP
W3hKpQ6mU9KAXDk8tPecPrkHd/6rM9XH47zUsxtAeu8oriDQbc/xUpA0nnLWYDPZ
5U6pzjqqYq3icEWHWnQlg9Ge7ljmIfe2rBK2JJRQu4nqMUoU8vQuMokNyExE+v3k
4YnfbP+4jfcbAkRseO8nvMJoXIGakATyDpArbftZv3Lh
-----END ENCRYPTED PRIVATE KEY-----
`,
	"AES-192 SHA-512": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgXd43l8Sr7GwICCAAw
DAYIKoZIhvcNAgsFADAdBglghkgBZQMEARYEEEY3oNM0birpWjLsIVw2JwgEgZBV
VH1s1FZvZp6XxNk5iV3WL+RE71fEdElHqrKqA1gipzbRFg+kNqzIFVJZX758EM06
Oig96gQSIWtglDmMdtnsTRK3zuzjBhtqcBLXh2d2UosCc4fS7be82rCoG69dP4/I
PrWnBQQPzeHzlQW/GO2s95SEKYtUoCOGeK7p+rITzcjcqDzaiA1kLpODDjQJC18=
-----END ENCRYPTED PRIVATE KEY-----
`,
	"RFC 1423": `-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,75E623C4684CF46C38E29C7C9106377E

sHgKTlA/S1ahxhpJBBtRR3iP92PcWphgAmlOKA7qpBLO1zulPMywnvuiETy0bmVp
qyMbUFooJCc18YW9vNvA9H1I1kPUmapMizvImHbscGJXsBvJm37rr/xFXYv8iJq8
cfXSeUgwTqjC6bs6p5PIIdOcfzDDo6d5N7Fv0lYRdJI=
-----END EC PRIVATE KEY-----
`,
	"DES": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAiHuGQ2bXPB3wICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQI67mUADlf7q8EgZAYCJzdOkNmpAbq
mN3E088n7GGRAQUFQ5JNeYXokFHhr0Bc7QhPT+h+NEmWBdc3r4iXPS6sSedJidkH
d6RSlxZHpporthzPy00YI2Yr2bl7HHZu66ubVeK6HIdLnv+z920P3s66emEX6ReN
6cI6+MngsIn7tNvalFZIg2UbBMCfWRP6eSNVP1elgLSQyFdAhv0=
-----END ENCRYPTED PRIVATE KEY-----
`,
}

// UNS-A8: keyfile_password has its equivalent: the key is used, and with the wrong password, or encrypted in a way that is not known,
// the error says so.
func TestEncryptedKeys(t *testing.T) {
	for name, text := range encryptedKeys {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := TLSConfig{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), KeyPassword: "secret"}
			if err := os.WriteFile(c.Key, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			plain, err := decryptKey([]byte(text), "secret")
			if name == "DES" {
				if err == nil || !strings.Contains(err.Error(), "openssl pkcs8") {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(c.Cert, selfSigned(t, plain), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Load("host"); err != nil {
				t.Fatal(err)
			}
			c.KeyPassword = "wrong"
			if _, err := c.Load("host"); err == nil || !strings.Contains(err.Error(), "key.pem") {
				t.Fatalf("%v", err)
			}
		})
	}
	if _, err := decryptKey([]byte("no key at all"), "secret"); err == nil {
		t.Error("no key at all is a key")
	}
}

// selfSigned returns a certificate for a private key, both PEM.
func selfSigned(t *testing.T, key []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(key)
	var signer any
	signer, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		signer, err = x509.ParseECPrivateKey(block.Bytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
	public := signer.(interface{ Public() crypto.PublicKey }).Public()
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Whatever a key file holds, reading it ends, and does not panic.
func FuzzDecryptKey(f *testing.F) {
	for _, text := range encryptedKeys {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		for b, rest := pem.Decode(file); b != nil; b, rest = pem.Decode(rest) {
			if len(b.Bytes) > 4096 {
				return
			}
		}
		if key, err := decryptKey(file, "secret"); err == nil && len(key) == 0 {
			t.Error("neither key nor error")
		}
	})
}

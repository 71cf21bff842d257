package harness

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// What an [Issuer] signs and Kafka checks.
const (
	Audience   = "kafka"
	IssuerName = "test-idp"
)

// An Issuer is an OpenID Connect provider, as far as client credentials need one: it gives a signed token to who knows
// the secret.
type Issuer struct {
	JWKS     string // URL of the file that holds its public key
	TokenURL string // where tokens are to be had
	ID       string // the client that it knows
	Secret   string
	Lifetime time.Duration // of each token

	forge  atomic.Bool
	issued atomic.Int64
	key    *rsa.PrivateKey
	other  *rsa.PrivateKey // what a forger signs with
	server *http.Server
}

// NewIssuer starts one on loopback. Its public key goes into dir.
func NewIssuer(dir string) (*Issuer, error) {
	is := &Issuer{ID: "linkspan", Secret: "issuer-secret", Lifetime: time.Minute}
	var err error
	if is.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if is.other, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	exponent := []byte{byte(is.key.E >> 16), byte(is.key.E >> 8), byte(is.key.E)}
	jwks, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "kid": "e2e", "use": "sig", "alg": "RS256", "n": base64url(is.key.N.Bytes()), "e": base64url(exponent),
	}}})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "jwks.json")
	if err := os.WriteFile(file, jwks, 0o644); err != nil {
		return nil, err
	}
	is.JWKS = "file://" + file
	return is, is.serve()
}

// Sibling starts another token endpoint of the same provider, whose tokens live that long.
func (is *Issuer) Sibling(lifetime time.Duration) (*Issuer, error) {
	s := &Issuer{JWKS: is.JWKS, ID: is.ID, Secret: is.Secret, Lifetime: lifetime, key: is.key, other: is.other}
	return s, s.serve()
}

func (is *Issuer) serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	is.TokenURL = fmt.Sprintf("http://%s/token", l.Addr())
	is.server = &http.Server{Handler: http.HandlerFunc(is.token)}
	go func() { _ = is.server.Serve(l) }() // ends with Close
	return nil
}

// Forge makes the issuer sign with a key that Kafka does not know, or honestly again.
func (is *Issuer) Forge(forge bool) { is.forge.Store(forge) }

// Issued returns how many tokens it has given out.
func (is *Issuer) Issued() int64 { return is.issued.Load() }

// Close stops it.
func (is *Issuer) Close() { _ = is.server.Close() }

// token answers a client credentials request [RFC 6749 4.4].
func (is *Issuer) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	w.Header().Set("Content-Type", "application/json")
	if r.FormValue("grant_type") != "client_credentials" || id != is.ID || secret != is.Secret {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
		return
	}
	token, err := is.sign(time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	is.issued.Add(1)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(is.Lifetime.Seconds()),
	})
}

// sign returns a JSON web token signed with RS256 [RFC 7518 3.3].
func (is *Issuer) sign(now time.Time) (string, error) {
	header := `{"alg":"RS256","typ":"JWT","kid":"e2e"}`
	claims, err := json.Marshal(map[string]any{
		"iss": IssuerName, "aud": Audience, "sub": "bridge", "iat": now.Unix(), "exp": now.Add(is.Lifetime).Unix(),
	})
	if err != nil {
		return "", err
	}
	text := base64url([]byte(header)) + "." + base64url(claims)
	key := is.key
	if is.forge.Load() {
		key = is.other
	}
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64url(signature), nil
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

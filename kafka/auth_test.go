package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/aws"
)

// dial pings as a process does that starts, but no longer than until a first broker has been tried.
func dial(tb testing.TB, cfg Config) error {
	tb.Helper()
	c, err := newClient(cfg, quiet)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(testContext(tb))
	defer cancel()
	tried := make(chan struct{})
	go func() {
		defer close(tried)
		for c.reach.lastError() == nil && sleep(ctx, time.Millisecond) == nil {
		}
		cancel()
	}()
	err = c.Ping(ctx)
	cancel()
	<-tried
	return err
}

// Each mechanism logs in with the right password, and with no other (KAL-W12).
func TestLogin(t *testing.T) {
	cluster := startKfake(t, kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "bridge", "secret"), kfake.Superuser("SCRAM-SHA-256", "bridge", "secret"), kfake.Superuser("SCRAM-SHA-512", "bridge", "secret"))
	for _, mech := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		cfg := testConfig(cluster.ListenAddrs()...)
		cfg.SASL = &SASLConfig{Mechanism: mech, Username: "bridge", Password: "secret"}
		if err := dial(t, cfg); err != nil {
			t.Errorf("%s: %v", mech, err)
		}
		if err := send(t, connect(t, cfg).Producer(), message("t", "k", "v")); err != nil {
			t.Errorf("%s: %v", mech, err)
		}
		cfg.SASL.Password = "wrong-one"
		err := dial(t, cfg)
		if err == nil || !strings.Contains(err.Error(), "check kafka.tls and kafka.sasl") { // this broker only hangs up
			t.Errorf("%s: a wrong password: %v", mech, err)
		}
		if strings.Contains(fmt.Sprint(err), "wrong-one") || strings.Contains(fmt.Sprintf("%+v", cfg), "wrong-one") {
			t.Errorf("%s: the password is printed", mech)
		}
	}
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.SASL = &SASLConfig{Mechanism: "aws-msk-iam", AWS: &AWSConfig{AccessKey: "a", SecretKey: "s", Region: "r"}}
	if err := dial(t, cfg); err == nil || !strings.Contains(err.Error(), "does not offer") {
		t.Errorf("a mechanism that the broker has not got: %v", err)
	}
}

// A broker that says what is wrong, as Apache Kafka does: Ping gives up at once, whatever its context.
func TestLoginRefused(t *testing.T) {
	cluster := startKfake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "bridge", "secret"))
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.SASL = &SASLConfig{Mechanism: "plain", Username: "bridge", Password: "wrong"}
	_, err := Dial(context.Background(), cfg, quiet)
	if err == nil || !strings.Contains(err.Error(), "refused the login; check kafka.sasl") {
		t.Errorf("a wrong password: %v", err)
	}
}

// A password that is wrong for a while under way gives messages back or holds them up, and loses none.
func TestLoginRefusedForAWhile(t *testing.T) {
	dir := t.TempDir()
	start := func(port int) *kfake.Cluster {
		cluster, err := kfake.NewCluster(kfake.Ports(port), kfake.DataDir(dir), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "bridge", "secret"))
		if err != nil {
			t.Fatal(err)
		}
		return cluster
	}
	cluster := start(0)
	addr := cluster.ListenAddrs()[0]
	cfg := testConfig(addr)
	cfg.SASL = &SASLConfig{Mechanism: "plain", Username: "bridge", Password: "secret"}
	c := connect(t, cfg)
	if err := send(t, c.Producer(), message("t", "k", "0")); err != nil || !c.Connected() {
		t.Fatal(err, c.Connected())
	}
	cluster.Close()
	_, port, _ := net.SplitHostPort(addr)
	n, _ := net.LookupPort("tcp", port)
	cluster = start(n)
	defer cluster.Close()
	var refused atomic.Int64
	var welcome atomic.Bool
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if welcome.Load() {
			return nil, nil, false
		}
		refused.Add(1)
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	o := newOutcomes()
	c.Producer().Send(context.Background(), message("t", "k", "1"), o.done)
	until(t, "refusals", func() bool { return refused.Load() > 3 && !c.Connected() })
	welcome.Store(true)
	if err := o.wait(t); linkspan.IsPermanent(err) {
		t.Errorf("refused for good: %v", err)
	} else if err != nil {
		until(t, "a message to get through", func() bool { return send(t, c.Producer(), message("t", "k", "1")) == nil })
	}
}

// certificates are an authority, and a server and a client certificate of it, as files.
type certificates struct{ ca, cert, key string }

func newCertificates(tb testing.TB) certificates {
	tb.Helper()
	dir := tb.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			tb.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "linkspan test"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	cert := write("cert.pem", "CERTIFICATE", der)
	return certificates{cert, cert, write("key.pem", "PRIVATE KEY", keyDER)}
}

// TLS to Kafka, with what can be wrong of it (KAL-W12).
func TestTLS(t *testing.T) {
	files := newCertificates(t)
	server, err := tls.LoadX509KeyPair(files.cert, files.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	ca, _ := os.ReadFile(files.ca)
	pool.AppendCertsFromPEM(ca)
	addr := startKfake(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})).ListenAddrs()[0]
	plain := httptest.NewServer(http.NotFoundHandler()) // answers what is no TLS with what is no TLS
	defer plain.Close()
	open := plain.Listener.Addr().String()
	for name, c := range map[string]struct {
		addr string
		tls  *TLSConfig
		want string
	}{
		"mutual":             {addr, &TLSConfig{CA: files.ca, Cert: files.cert, Key: files.key}, ""},
		"insecure":           {addr, &TLSConfig{Insecure: true, Cert: files.cert, Key: files.key}, ""},
		"unknown authority":  {addr, &TLSConfig{Cert: files.cert, Key: files.key}, "set kafka.tls.ca"},
		"another name":       {addr, &TLSConfig{CA: files.ca, Cert: files.cert, Key: files.key, ServerName: "other"}, "set kafka.tls.server_name"},
		"no TLS there":       {open, &TLSConfig{CA: files.ca}, "does not speak TLS"},
		"no file":            {addr, &TLSConfig{CA: files.ca + "-none"}, "kafka.tls.ca"},
		"no certificate":     {addr, &TLSConfig{CA: files.key}, "it must be PEM"},
		"no key in the file": {addr, &TLSConfig{CA: files.ca, Cert: files.cert, Key: files.cert}, "kafka.tls.cert, key"},
	} {
		cfg := testConfig(c.addr)
		cfg.TLS = c.tls
		switch err := dial(t, cfg); {
		case err == nil && c.want != "", err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// identityProvider is a token endpoint. It counts the requests.
func identityProvider(tb testing.TB, life time.Duration) (url string, requests *atomic.Int64) {
	requests = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		id, secret, _ := r.BasicAuth()
		if r.Method != http.MethodPost || r.FormValue("grant_type") != "client_credentials" || id != "bridge" || secret != "s%3Acret" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"who are you?"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":"token-%d-%s-%s-%s","token_type":"Bearer","expires_in":%d}`, n, r.FormValue("scope"), r.FormValue("audience"), r.FormValue("x"), int(life.Seconds()))
	}))
	tb.Cleanup(s.Close)
	return s.URL, requests
}

func TestOAuthTokens(t *testing.T) {
	url, requests := identityProvider(t, time.Hour)
	s, err := newTokenSource(&OAuthConfig{
		TokenEndpoint: url, ClientID: "bridge", ClientSecret: "s:cret", Scope: "kafka", Audience: "cluster", Params: map[string]string{"x": "y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(want string) {
		t.Helper()
		if got, err := s.token(context.Background()); got != want || err != nil {
			t.Errorf("token %q, %v, want %q", got, err, want)
		}
	}
	get("token-1-kafka-cluster-y")
	get("token-1-kafka-cluster-y") // kept
	s.renew = time.Now()           // four fifths of the hour later
	get("token-2-kafka-cluster-y")
	if requests.Load() != 2 {
		t.Errorf("%d requests", requests.Load())
	}
	if left := time.Until(s.renew); left < 40*time.Minute || left > 50*time.Minute {
		t.Errorf("renewed after %v of an hour", left)
	}
	s.cfg.ClientSecret, s.current = "wrong", ""
	if _, err := s.token(context.Background()); err == nil || !strings.Contains(err.Error(), "who are you?") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestOAuthTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	cfg := SASLConfig{Mechanism: "oauthbearer", OAuth: &OAuthConfig{TokenFile: file, Extensions: map[string]string{"logicalCluster": "lkc-1"}}}
	m, err := cfg.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"first", "renewed"} {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, hello, err := m.Authenticate(context.Background(), "kafka:9092")
		if want := "n,,\x01auth=Bearer " + token + "\x01logicalCluster=lkc-1\x01\x01"; string(hello) != want || err != nil {
			t.Errorf("sent %q, %v, want %q", hello, err, want)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"t","expires_in":3600}`))
	f.Add(200, []byte(`{"access_token":"t","expires_in":"3600"}`))
	f.Add(400, []byte(`{"error":"e"}`))
	f.Add(200, []byte(`{"access_token":"t","expires_in":-1e400}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		token, life, err := parseToken(status, body)
		if err == nil && (token == "" || life < 0 || life > 24*time.Hour) {
			t.Errorf("token %q for %v", token, life)
		}
	})
}

// Our signature is the one that franz-go makes, which is known to work, and ours can be told the region.
func TestMSKSignature(t *testing.T) {
	const host = "b-1.test.abc123.c2.kafka.eu-central-1.amazonaws.com:9098"
	ask := func(t *testing.T, m interface {
		Name() string
	}, hello []byte, err error) map[string]string {
		t.Helper()
		if err != nil || m.Name() != "AWS_MSK_IAM" {
			t.Fatal(m.Name(), err)
		}
		var fields map[string]string
		if err := json.Unmarshal(hello, &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "user-agent")
		return fields
	}
	synctest.Test(t, func(t *testing.T) { // so that both sign at the same time
		for _, session := range []string{"", "to/ken+="} {
			ours := mskIAM{AWSConfig{AccessKey: "AKID", SecretKey: "se/cret", SessionToken: "x"}, func(string) string { return "" }}
			ours.cfg.SessionToken = ""
			if session != "" {
				env := map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "se/cret", "AWS_SESSION_TOKEN": session, "AWS_REGION": "not-this"}
				ours = mskIAM{AWSConfig{}, func(k string) string { return env[k] }}
			}
			_, hello, err := ours.Authenticate(context.Background(), host)
			got := ask(t, ours, hello, err)
			theirs := aws.Auth{AccessKey: "AKID", SecretKey: "se/cret", SessionToken: session}.AsManagedStreamingIAMMechanism()
			_, hello, err = theirs.Authenticate(context.Background(), host)
			if want := ask(t, theirs, hello, err); !maps.Equal(got, want) {
				t.Errorf("signed %v, want %v", got, want)
			}
		}
		custom := mskIAM{AWSConfig{AccessKey: "AKID", SecretKey: "s", Region: "eu-west-1"}, func(string) string { return "" }}
		_, hello, err := custom.Authenticate(context.Background(), "kafka.example.com:9098")
		if got := ask(t, custom, hello, err)["x-amz-credential"]; !strings.Contains(got, "/eu-west-1/kafka-cluster/") {
			t.Errorf("credential %s", got)
		}
		custom.cfg.Region = ""
		if _, _, err := custom.Authenticate(context.Background(), "kafka.example.com:9098"); err == nil || !strings.Contains(err.Error(), "kafka.sasl.aws.region") {
			t.Errorf("no region: %v", err)
		}
	})
}

// What a broker has against a token is in the error, which no other try can help [RFC 7628 3.2.2].
func TestBearerSaysWhatTheBrokerSays(t *testing.T) {
	s := bearerSession{nothingMore{}}
	_, _, err := s.Challenge([]byte(`{"status":"invalid_token"}`))
	if !hopeless(err) || !strings.Contains(err.Error(), "invalid_token") {
		t.Errorf("got %v", err)
	}
	if done, _, err := s.Challenge(nil); !done || err != nil {
		t.Errorf("an empty answer is consent, got %v %v", done, err)
	}
}

// nothingMore is the rest of a login that is accepted.
type nothingMore struct{}

func (nothingMore) Challenge([]byte) (bool, []byte, error) { return true, nil, nil }

// A token endpoint that refuses the credentials ends the start; one that is in trouble is asked again [RFC 6749 5.2].
func TestTokenRefusedIsHopeless(t *testing.T) {
	for status, want := range map[int]bool{400: true, 401: true, 500: false, 503: false} {
		_, _, err := parseToken(status, []byte(`{"error":"invalid_client","error_description":"who?"}`))
		if hopeless(err) != want || !strings.Contains(err.Error(), "invalid_client") {
			t.Errorf("%d: hopeless %v for %v", status, hopeless(err), err)
		}
	}
}

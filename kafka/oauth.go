package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/linkspan/linkspan"
)

// OAuthConfig is `kafka.sasl.oauth`: where tokens come from. Either a token endpoint is asked with client credentials
// [RFC 6749 4.4], or they are read from a file that someone else renews.
type OAuthConfig struct {
	// TokenEndpoint is the URL of the identity provider's token endpoint. Kafka: sasl.oauthbearer.token.endpoint.url.
	TokenEndpoint string `yaml:"token_endpoint"`
	// ClientID and ClientSecret log in there. Kafka: clientId and clientSecret of sasl.jaas.config.
	ClientID     string          `yaml:"client_id"`
	ClientSecret linkspan.Secret `yaml:"client_secret"`
	// Scope asked for, several parted by spaces. Kafka: scope of sasl.jaas.config.
	Scope string `yaml:"scope"`
	// Audience asked for, by providers that want one.
	Audience string `yaml:"audience"`
	// Params are further parameters of the token request.
	Params map[string]string `yaml:"params"`
	// Extensions are sent to the broker with each token [RFC 7628 3.1]. Kafka: extension_NAME of sasl.jaas.config.
	Extensions map[string]string `yaml:"extensions"`
	// CA is a PEM file with the certificate authorities to trust at the token endpoint instead of the system's.
	CA string `yaml:"ca"`
	// TokenFile holds a token; it is read anew for each login. Not together with TokenEndpoint.
	TokenFile string `yaml:"token_file"`
}

func (o *OAuthConfig) validate(p *problems) {
	if o.TokenFile != "" {
		p.check("sasl.oauth.token_file", o.TokenEndpoint == "" && o.ClientID == "" && o.ClientSecret == "",
			"is instead of token_endpoint, client_id and client_secret; remove one or the other")
		return
	}
	u, err := url.Parse(o.TokenEndpoint)
	p.check("sasl.oauth.token_endpoint", err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http"),
		"%q is no http or https URL; it is needed unless there is a token_file", o.TokenEndpoint)
	p.check("sasl.oauth.client_id", o.ClientID != "", "is needed with token_endpoint")
	p.check("sasl.oauth.client_secret", o.ClientSecret != "", "is needed with token_endpoint")
}

// tokenSource gets tokens and keeps each until shortly before it expires. Its zero token is none.
type tokenSource struct {
	cfg  *OAuthConfig
	http *http.Client

	mu      sync.Mutex // held while a token is fetched: others wait for the same one
	current string
	renew   time.Time
}

func newTokenSource(cfg *OAuthConfig) (*tokenSource, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // a token an hour needs no open connection
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("kafka.sasl.oauth.ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka.sasl.oauth.ca: no certificate in %s", cfg.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &tokenSource{cfg: cfg, http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// token returns a token that is good for the login now.
func (s *tokenSource) token(ctx context.Context) (string, error) {
	if s.cfg.TokenFile != "" {
		b, err := os.ReadFile(s.cfg.TokenFile)
		if err != nil {
			return "", fmt.Errorf("kafka.sasl.oauth.token_file: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.current != "" && now.Before(s.renew) {
		return s.current, nil
	}
	token, life, err := s.fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("get a token from %s: %w", s.cfg.TokenEndpoint, err)
	}
	// A fifth of its life early: the broker looks at its own clock, and ends the session with the token.
	s.current, s.renew = token, now.Add(life*4/5)
	return token, nil
}

// fetch asks the token endpoint with client credentials [RFC 6749 4.4.2].
func (s *tokenSource) fetch(ctx context.Context) (token string, life time.Duration, err error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if s.cfg.Scope != "" {
		form.Set("scope", s.cfg.Scope)
	}
	if s.cfg.Audience != "" {
		form.Set("audience", s.cfg.Audience)
	}
	for k, v := range maps.All(s.cfg.Params) {
		form.Set(k, v)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(s.cfg.ClientID), url.QueryEscape(string(s.cfg.ClientSecret))) // [RFC 6749 2.3.1]
	resp, err := s.http.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", 0, err
	}
	return parseToken(resp.StatusCode, body)
}

// errTokenRefused: the token endpoint does not give a token to these credentials [RFC 6749 5.2].
var errTokenRefused = errors.New("refused; check kafka.sasl.oauth")

// parseToken reads the answer of a token endpoint [RFC 6749 5.1, 5.2].
func parseToken(status int, body []byte) (token string, life time.Duration, err error) {
	var answer struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
		Error       string      `json:"error"`
		Description string      `json:"error_description"`
	}
	err = json.Unmarshal(body, &answer)
	switch {
	case answer.Error != "" && (status == http.StatusBadRequest || status == http.StatusUnauthorized):
		return "", 0, fmt.Errorf("%w: %s", errTokenRefused, strings.TrimSpace(answer.Error+" "+answer.Description))
	case answer.Error != "":
		return "", 0, fmt.Errorf("%s %s", answer.Error, answer.Description)
	case status != http.StatusOK:
		return "", 0, fmt.Errorf("HTTP status %d", status)
	case err != nil:
		return "", 0, fmt.Errorf("the answer is not the JSON of a token: %w", err)
	case answer.AccessToken == "":
		return "", 0, errors.New("the answer has no access_token")
	}
	if seconds, err := answer.ExpiresIn.Float64(); err == nil && seconds > 0 {
		life = time.Duration(min(seconds, 24*3600) * float64(time.Second))
	}
	return answer.AccessToken, life, nil // no life told: used for one login
}

// bearer is the SASL mechanism OAUTHBEARER, with an error that says what the broker has against the token. The library's own
// says that there is one.
type bearer struct{ sasl.Mechanism }

func (b bearer) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	s, first, err := b.Mechanism.Authenticate(ctx, host)
	return bearerSession{s}, first, err
}

type bearerSession struct{ sasl.Session }

// Challenge takes the broker's answer to the token: nothing, or what is wrong with it [RFC 7628 3.2.2].
func (s bearerSession) Challenge(answer []byte) (done bool, response []byte, err error) {
	if len(answer) > 0 {
		return false, nil, fmt.Errorf("%w %s", kerr.SaslAuthenticationFailed, answer)
	}
	return s.Session.Challenge(answer)
}

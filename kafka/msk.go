package kafka

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/sasl"
)

// AWSConfig is `kafka.sasl.aws`: the keys of an IAM user or role. What is left out is taken from the environment
// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION) at each login.
type AWSConfig struct {
	// AccessKey is the id of the access key. Default: AWS_ACCESS_KEY_ID, and then the next two come from there too.
	AccessKey string `yaml:"access_key"`
	// SecretKey is its secret. Default: AWS_SECRET_ACCESS_KEY.
	SecretKey linkspan.Secret `yaml:"secret_key"`
	// SessionToken is what temporary keys need beside the two. Default: AWS_SESSION_TOKEN.
	SessionToken linkspan.Secret `yaml:"session_token"`
	// Region of the cluster. Default: from the broker's name (*.REGION.amazonaws.com), or else from the environment.
	Region string `yaml:"region"`
}

// mskIAM is the AWS_MSK_IAM mechanism of Amazon's aws-msk-iam-auth: the client presents a request to "connect to the
// cluster" that it has signed with Signature Version 4. franz-go's signer cannot be told the region, and clusters with a
// custom domain need that.
type mskIAM struct {
	cfg AWSConfig
	env func(string) string
}

func (mskIAM) Name() string { return "AWS_MSK_IAM" }

// Authenticate signs for the broker at addr.
func (m mskIAM) Authenticate(_ context.Context, addr string) (sasl.Session, []byte, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	access, secret, session := m.cfg.AccessKey, string(m.cfg.SecretKey), string(m.cfg.SessionToken)
	if access == "" { // the three belong together
		access, secret, session = m.env("AWS_ACCESS_KEY_ID"), m.env("AWS_SECRET_ACCESS_KEY"), m.env("AWS_SESSION_TOKEN")
	}
	if access == "" || secret == "" {
		return nil, nil, errors.New("aws-msk-iam: no keys; set kafka.sasl.aws or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	region := cmp.Or(m.cfg.Region, regionOf(host), m.env("AWS_REGION"), m.env("AWS_DEFAULT_REGION"))
	if region == "" {
		return nil, nil, fmt.Errorf("aws-msk-iam: the name %s does not tell the region; set kafka.sasl.aws.region", host)
	}
	payload, err := signMSK(host, region, access, secret, session, time.Now().UTC())
	return mskSession{}, payload, err
}

type mskSession struct{}

func (mskSession) Challenge(answer []byte) (bool, []byte, error) {
	if len(answer) == 0 {
		return false, nil, errors.New("aws-msk-iam: the broker did not accept the signature")
	}
	return true, nil, nil
}

// regionOf finds the region in b-1.NAME.ID.c1.kafka.REGION.amazonaws.com, "" when host is not of that form.
func regionOf(host string) string {
	labels := strings.Split(strings.TrimSuffix(host, ".cn"), ".")
	if n := len(labels); n > 3 && labels[n-1] == "com" && labels[n-2] == "amazonaws" {
		return labels[n-3]
	}
	return ""
}

// signMSK returns the JSON that AWS_MSK_IAM sends: the parameters of a presigned GET of / at host.
func signMSK(host, region, access, secret, session string, now time.Time) ([]byte, error) {
	const service, action = "kafka-cluster", "kafka-cluster:Connect"
	stamp := now.Format("20060102T150405Z")
	scope := strings.Join([]string{stamp[:8], region, service, "aws4_request"}, "/")
	v := url.Values{
		"Action": {action}, "X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {access + "/" + scope},
		"X-Amz-Date": {stamp}, "X-Amz-Expires": {"300"}, "X-Amz-SignedHeaders": {"host"},
	}
	if session != "" {
		v.Set("X-Amz-Security-Token", session)
	}
	query := strings.ReplaceAll(v.Encode(), "+", "%20")
	nothing := sha256.Sum256(nil)
	canonical := sha256.Sum256([]byte("GET\n/\n" + query + "\nhost:" + host + "\n\nhost\n" + hex.EncodeToString(nothing[:])))
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	key := []byte("AWS4" + secret)
	for _, part := range []string{stamp[:8], region, service, "aws4_request"} {
		key = mac(key, part)
	}
	toSign := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(canonical[:])
	v.Set("X-Amz-Signature", hex.EncodeToString(mac(key, toSign)))

	fields := map[string]string{"host": host, "version": "2020_10_22", "user-agent": "linkspan"}
	for k, vs := range v {
		fields[strings.ToLower(k)] = vs[0]
	}
	return json.Marshal(fields)
}

package decryption

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/keyservice"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"
	"sigs.k8s.io/yaml"
)

// awsCredentials is the YAML in sops.aws-kms.
type awsCredentials struct {
	AccessKeyID     string `json:"aws_access_key_id"`
	SecretAccessKey string `json:"aws_secret_access_key"`
	SessionToken    string `json:"aws_session_token"`
}

func (r *ring) decryptAWS(ctx context.Context, k *keyservice.KmsKey, ciphertext []byte) ([]byte, error) {
	parts := strings.Split(k.Arn, ":") // arn:partition:kms:region:account:key/id
	if len(parts) < 6 || parts[2] != "kms" || !region.MatchString(parts[3]) {
		return nil, errors.New("its ARN is not that of a key")
	}
	blob, err := base64.StdEncoding.DecodeString(string(ciphertext))
	if err != nil {
		return nil, errors.New("its encrypted data key is not base64")
	}
	provider, err := r.awsCredentials(ctx, parts[3])
	if err != nil {
		return nil, err
	}
	if k.Role != "" {
		service := sts.New(sts.Options{Region: parts[3], Credentials: provider, HTTPClient: newClient()})
		provider = stscreds.NewAssumeRoleProvider(service, k.Role)
	}
	// No default configuration: it reads files of the controller, which may name
	// programs, and its environment. So the profile that the file names counts
	// for nothing.
	service := kms.New(kms.Options{Region: parts[3], Credentials: provider, HTTPClient: newClient()})
	out, err := service.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.Arn, CiphertextBlob: blob, EncryptionContext: k.Context})
	if err != nil {
		return nil, err
	}
	return out.Plaintext, nil
}

func (r *ring) awsCredentials(ctx context.Context, region string) (aws.CredentialsProvider, error) {
	text := r.cloud[awsKey]
	if len(text) == 0 {
		return r.identity.aws(ctx, region)
	}
	var c awsCredentials
	if yaml.Unmarshal(text, &c) != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return nil, fmt.Errorf("%w: %q needs aws_access_key_id and aws_secret_access_key", ErrKeys, awsKey)
	}
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken), nil
}

// region is the name of an AWS region; it becomes part of a host name.
var region = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func (r *ring) decryptGCP(ctx context.Context, k *keyservice.GcpKmsKey, ciphertext []byte) ([]byte, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, newClient())
	tokens, err := r.gcpTokens(ctx)
	if err != nil {
		return nil, err
	}
	key := gcpkms.NewMasterKeyFromResourceID(k.ResourceId)
	key.EncryptedKey = string(ciphertext)
	gcpkms.NewTokenSource(tokens).ApplyToMasterKey(key)
	gcpkms.UseRESTClient{}.ApplyToMasterKey(key)
	gcpkms.ClientOptions{option.WithHTTPClient(oauth2.NewClient(ctx, tokens))}.ApplyToMasterKey(key)
	return key.DecryptContext(ctx)
}

func (r *ring) gcpTokens(ctx context.Context) (oauth2.TokenSource, error) {
	text := r.cloud[gcpKey]
	if len(text) == 0 {
		return r.identity.gcp(ctx)
	}
	// Other types of credentials name files, URLs and programs.
	var kind struct{ Type string }
	if json.Unmarshal(text, &kind) != nil || kind.Type != "service_account" {
		return nil, fmt.Errorf("%w: %q must be the JSON key of a service account", ErrKeys, gcpKey)
	}
	account, err := google.JWTConfigFromJSON(text, "https://www.googleapis.com/auth/cloudkms")
	if err != nil {
		return nil, fmt.Errorf("%w: %q must be the JSON key of a service account", ErrKeys, gcpKey)
	}
	return account.TokenSource(ctx), nil
}

// azureCredentials is the YAML in sops.azure-kv.
type azureCredentials struct {
	TenantID             string `json:"tenantId"`
	ClientID             string `json:"clientId"`
	ClientSecret         string `json:"clientSecret"`
	Certificate          string `json:"clientCertificate"`
	CertificatePassword  string `json:"clientCertificatePassword"`
	CertificateSendChain bool   `json:"clientCertificateSendChain"`
	AuthorityHost        string `json:"authorityHost"`
}

func (r *ring) decryptAzure(ctx context.Context, k *keyservice.AzureKeyVaultKey, ciphertext []byte) ([]byte, error) {
	options := azcore.ClientOptions{Transport: newClient(), Cloud: cloud.AzurePublic}
	tokens, err := r.azureTokens(ctx, &options)
	if err != nil {
		return nil, err
	}
	key := azkv.NewMasterKey(k.VaultUrl, k.Name, k.Version)
	key.EncryptedKey = string(ciphertext)
	azkv.NewTokenCredential(tokens).ApplyToMasterKey(key)
	azkv.NewClientOptions(&azkeys.ClientOptions{ClientOptions: options}).ApplyToMasterKey(key)
	return key.DecryptContext(ctx)
}

func (r *ring) azureTokens(ctx context.Context, options *azcore.ClientOptions) (azcore.TokenCredential, error) {
	text := r.cloud[azureKey]
	if len(text) == 0 {
		return r.identity.azure(ctx)
	}
	var c azureCredentials
	if yaml.Unmarshal(text, &c) != nil || c.TenantID == "" || c.ClientID == "" {
		return nil, fmt.Errorf("%w: %q needs tenantId and clientId, and clientSecret or clientCertificate", ErrKeys, azureKey)
	}
	if c.AuthorityHost != "" {
		options.Cloud.ActiveDirectoryAuthorityHost = c.AuthorityHost
	}
	return c.identity(*options)
}

// identity is a service principal with a secret or a certificate.
func (c *azureCredentials) identity(o azcore.ClientOptions) (azcore.TokenCredential, error) {
	if c.ClientSecret != "" {
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: o})
	}
	certificates, key, err := azidentity.ParseCertificates([]byte(c.Certificate), []byte(c.CertificatePassword))
	if err != nil {
		return nil, fmt.Errorf("%w: %q needs a clientSecret, or a clientCertificate in PEM with its key", ErrKeys, azureKey)
	}
	return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certificates, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: o, SendCertificateChain: c.CertificateSendChain})
}

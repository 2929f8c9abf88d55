package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/upstream"
)

// azureHosts are the hosts that a workload or managed identity is used with.
var azureHosts = regexp.MustCompile(`^https://[a-z0-9-]+(\.[a-z0-9-]+)?\.(blob|dfs)\.(core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net|storage\.azure\.net)(:443)?/?$`)

// blobs is a container of Azure Blob Storage.
type blobs struct {
	client *container.Client
}

// newAzure speaks to Azure Blob Storage: with what the Secret has, or with a
// workload identity.
func newAzure(a *access, logins *cloudlogin.Logins) (storage, error) {
	client, err := a.client()
	if err != nil {
		return nil, fmt.Errorf("spec.certSecretRef: %w", err)
	}
	at, err := containerURL(a)
	if err != nil {
		return nil, err
	}
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: client, Retry: policy.RetryOptions{MaxRetries: -1}, // the loop comes back
	}}
	c, err := azureClient(a, logins, at, client, options)
	if err != nil {
		return nil, err
	}
	return &blobs{c}, nil
}

// containerURL returns the address of the container.
func containerURL(a *access) (*url.URL, error) {
	u, err := url.Parse(a.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%w: %q: write the URL of the storage account, such as \"https://account.blob.core.windows.net\"", errEndpoint, a.Endpoint)
	case u.Scheme == "http" && !a.Insecure:
		return nil, fmt.Errorf("%w: %q: write https, or set spec.insecure to speak plain HTTP", errEndpoint, a.Endpoint)
	case u.Scheme == "https" && a.Insecure:
		return nil, fmt.Errorf("%w: %q: write http or remove spec.insecure", errEndpoint, a.Endpoint)
	}
	return u.JoinPath(a.Bucket), nil
}

// azureClient makes the client for the first kind of credentials that is there.
func azureClient(a *access, logins *cloudlogin.Logins, at *url.URL, client *http.Client, options *container.ClientOptions) (*container.Client, error) {
	s := a.Secret
	switch {
	case s == nil || len(s["tenantId"]) > 0 || len(s["clientId"]) > 0:
		if a.Insecure {
			return nil, fmt.Errorf("%w: spec.insecure goes with an \"accountKey\" or \"sasKey\" only: a token is not sent without TLS", errSpec)
		}
		credential, err := azureCredential(a, logins, client)
		if err != nil {
			return nil, err
		}
		return container.NewClient(at.String(), credential, options)
	case len(s["accountKey"]) > 0:
		account, _, _ := strings.Cut(at.Hostname(), ".")
		if path := strings.Trim(strings.TrimSuffix(at.Path, a.Bucket), "/"); path != "" { // as the emulator has it
			account = path
		}
		key, err := container.NewSharedKeyCredential(account, string(s["accountKey"]))
		if err != nil {
			return nil, fmt.Errorf("spec.secretRef: %w: the key \"accountKey\" is not in base64", errAuth)
		}
		return container.NewClientWithSharedKeyCredential(at.String(), key, options)
	case len(s["sasKey"]) > 0:
		at.RawQuery = strings.TrimPrefix(strings.TrimSpace(string(s["sasKey"])), "?")
		if _, err := url.ParseQuery(at.RawQuery); err != nil {
			return nil, fmt.Errorf("spec.secretRef: %w: the key \"sasKey\" is no query of a URL", errAuth)
		}
		return container.NewClientWithNoCredential(at.String(), options)
	}
	return nil, fmt.Errorf("spec.secretRef: %w: the secret has none of the keys \"accountKey\", \"sasKey\", \"tenantId\" with \"clientId\", and \"clientId\"", errAuth)
}

func (b *blobs) list(ctx context.Context, prefix string, found func(object) error) error {
	o := &container.ListBlobsFlatOptions{}
	if prefix != "" {
		o.Prefix = &prefix
	}
	for pages := b.client.NewListBlobsFlatPager(o); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return azureError(err)
		}
		if page.Segment == nil {
			return fmt.Errorf("%w: the list of blobs is none", errAnswer)
		}
		for _, item := range page.Segment.BlobItems {
			o, dir, err := blobObject(item)
			if err == nil && !dir {
				err = found(o)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// blobObject reads an item of a listing. Accounts with a hierarchical namespace list
// their folders as well.
func blobObject(item *container.BlobItem) (o object, dir bool, err error) {
	if item == nil || item.Name == nil || item.Properties == nil || item.Properties.ETag == nil || item.Properties.ContentLength == nil {
		return o, false, fmt.Errorf("%w: a blob is listed without name, size or entity tag", errAnswer)
	}
	p := item.Properties
	for name, value := range item.Metadata {
		dir = dir || strings.EqualFold(name, "hdi_isfolder") && value != nil && *value == "true"
	}
	if p.ResourceType != nil {
		dir = dir || *p.ResourceType == "directory"
	}
	tag := string(*p.ETag)
	return object{key: *item.Name, etag: fmt.Sprintf("%x", tag), version: tag, size: *p.ContentLength}, dir, nil
}

func (b *blobs) open(ctx context.Context, o object, offset int64) (io.ReadCloser, error) {
	match := azcore.ETag(o.version)
	resp, err := b.client.NewBlobClient(o.key).DownloadStream(upstream.Limited(ctx, o.size+maxAnswer), &blob.DownloadStreamOptions{
		Range:            blob.HTTPRange{Offset: offset},
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &match}},
	})
	if err != nil {
		return nil, azureError(err)
	}
	part := ""
	if resp.ContentRange != nil {
		part = *resp.ContentRange
	}
	return from(resp.Body, part, offset)
}

func azureError(err error) error {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return statusError(e.StatusCode, e.ErrorCode) // its text has the whole answer in it
	}
	return err
}

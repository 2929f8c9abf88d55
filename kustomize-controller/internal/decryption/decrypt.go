package decryption

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	sopsjson "github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"

	"github.com/weirhq/weir/internal/secrets"
)

// Bounds on what is decrypted at once.
const (
	MaxSize = 5 << 20 // bytes of a file or object
	maxKeys = 64      // that one document may name; a key may cost a request
)

// format is a file format of SOPS.
type format uint8

const (
	unknown format = iota
	formatJSON
	formatYAML
	formatDotenv
	formatINI
	formatBinary // JSON around the bytes of a file
)

func (f format) store() sops.Store {
	stores := config.NewStoresConfig()
	switch f {
	case formatYAML:
		return yaml.NewStore(&stores.YAML)
	case formatDotenv:
		return dotenv.NewStore(&stores.Dotenv)
	case formatINI:
		return ini.NewStore(&stores.INI)
	case formatBinary:
		return sopsjson.NewBinaryStore(&stores.JSONBinary)
	}
	return sopsjson.NewStore(&stores.JSON)
}

// formatOf tells in which format data is encrypted; unknown if it is not.
func formatOf(name string, data []byte) format {
	text := bytes.TrimSpace(data)
	switch {
	case !bytes.Contains(text, []byte("ENC[")) || !bytes.Contains(text, []byte("sops")):
		return unknown
	case bytes.HasPrefix(text, []byte("{")):
		return jsonFormat(name, text)
	case bytes.Contains(text, []byte("sops_mac=ENC[")):
		return formatDotenv
	case bytes.HasPrefix(text, []byte("[sops]")), bytes.Contains(text, []byte("\n[sops]")):
		return formatINI
	case bytes.HasPrefix(text, []byte("sops:")), bytes.Contains(text, []byte("\nsops:")):
		return formatYAML
	}
	return unknown
}

// jsonFormat tells JSON from other files that SOPS has put into JSON.
func jsonFormat(name string, text []byte) format {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil || fields["sops"] == nil {
		return unknown
	}
	if path.Ext(name) != ".json" && len(fields) == 2 && bytes.HasPrefix(bytes.TrimSpace(fields["data"]), []byte(`"ENC[`)) {
		return formatBinary
	}
	return formatJSON
}

// File returns the content of a file that may be encrypted, in the format of
// the file: dotenv, JSON, YAML, INI or any other. What is not encrypted is
// returned as it is.
func (k *Keys) File(ctx context.Context, name string, data []byte) ([]byte, error) {
	f := formatOf(name, data)
	if f == unknown {
		return data, nil
	}
	return k.decrypt(ctx, f, data)
}

// Object returns an object, in JSON, whose encrypted fields are decrypted: those
// of an object that was encrypted as a whole, which has the field "sops", and
// the encrypted files among the data of a Secret.
func (k *Keys) Object(ctx context.Context, data []byte) ([]byte, error) {
	var object struct {
		Kind string
		Sops json.RawMessage
		Data map[string]string
	}
	if json.Unmarshal(data, &object) != nil {
		return data, nil // of another form than any encrypted object
	}
	if len(object.Sops) > 0 && string(object.Sops) != "null" {
		plain, err := k.decrypt(ctx, formatJSON, data)
		if err == nil {
			remember(data, plain)
		}
		return plain, err
	}
	if object.Kind != "Secret" {
		return data, nil
	}
	return k.entries(ctx, data, object.Data)
}

// entries decrypts the values of a Secret that are encrypted files.
func (k *Keys) entries(ctx context.Context, data []byte, values map[string]string) ([]byte, error) {
	changed := map[string]string{}
	for name, value := range values {
		file, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			continue // for the API server to refuse
		}
		f := formatOf(name, file)
		if f == unknown {
			continue
		}
		plain, err := k.decrypt(ctx, f, file)
		if err != nil {
			return nil, fmt.Errorf("data[%q]: %w", name, err)
		}
		secrets.Register(string(plain))
		changed[name] = base64.StdEncoding.EncodeToString(plain)
	}
	if len(changed) == 0 {
		return data, nil
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	for name, value := range values {
		if _, ok := changed[name]; !ok {
			changed[name] = value
		}
	}
	var err error
	if whole["data"], err = json.Marshal(changed); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}

// decrypt decrypts one document. The texts of SOPS and of parsers are left out
// of errors, since they quote content.
func (k *Keys) decrypt(ctx context.Context, f format, data []byte) (plain []byte, err error) {
	defer func() {
		if recover() != nil { // the stores are not made for hostile documents
			plain, err = nil, ErrContent
		}
	}()
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: it has more than %d MiB", ErrTooLarge, MaxSize>>20)
	}
	store := f.store()
	tree, err := store.LoadEncryptedFile(data)
	if err != nil {
		return nil, fmt.Errorf("%w: its metadata cannot be read", ErrContent)
	}
	key, err := k.dataKey(ctx, &tree)
	if err != nil {
		return nil, err
	}
	if _, err := tree.Decrypt(key, aes.NewCipher()); err != nil {
		return nil, fmt.Errorf("%w: a value does not belong to its place or was changed after it was encrypted", ErrContent)
	}
	if plain, err = store.EmitPlainFile(tree.Branches); err != nil {
		return nil, fmt.Errorf("%w: it cannot be written as plain text", ErrContent)
	}
	return plain, nil
}

// dataKey finds the key that a document's values are encrypted with.
func (k *Keys) dataKey(ctx context.Context, tree *sops.Tree) ([]byte, error) {
	if n := tree.Metadata.MasterKeyCount(); n == 0 || n > maxKeys {
		return nil, fmt.Errorf("%w: it names %d keys; 1 to %d are allowed", ErrContent, n, maxKeys)
	}
	ring, err := k.parse()
	if err != nil {
		return nil, err
	}
	s := &service{ctx: ctx, ring: ring}
	key, err := tree.Metadata.GetDataKeyWithKeyServices(
		[]keyservice.KeyServiceClient{keyservice.NewCustomLocalClient(s)}, sops.DefaultDecryptionOrder)
	switch {
	case err == nil && len(key) > 0:
		return key, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(s.missing) == 0:
		return nil, fmt.Errorf("%w: its encrypted data keys do not fit together", ErrContent)
	}
	return nil, fmt.Errorf("%w; tried: %s", ErrNoKey, strings.Join(s.missing, "; "))
}

// remember keeps decrypted values out of everything that people see.
func remember(encrypted, plain []byte) {
	var before, after any
	if errors.Join(json.Unmarshal(encrypted, &before), json.Unmarshal(plain, &after)) == nil {
		rememberValues(before, after)
	}
}

func rememberValues(before, after any) {
	switch before := before.(type) {
	case map[string]any:
		if after, ok := after.(map[string]any); ok {
			for key, value := range before {
				rememberValues(value, after[key])
			}
		}
	case []any:
		if after, ok := after.([]any); ok {
			for i := range min(len(before), len(after)) {
				rememberValues(before[i], after[i])
			}
		}
	case string:
		if text, ok := after.(string); ok && strings.HasPrefix(before, "ENC[") {
			secrets.Register(text)
		}
	}
}

package decryption

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	sopsage "github.com/getsops/sops/v3/age"
	sopskeys "github.com/getsops/sops/v3/keys"

	"github.com/weirhq/weir/internal/secrets"
)

const planted = "correct-horse-battery-staple"

func TestFilesOfEveryFormat(t *testing.T) {
	age, ageData := ageKey(t)
	pgp, pgpData := pgpKey(t)
	for name, tt := range map[string]struct {
		format format
		file   string
		plain  string
	}{
		"dotenv":             {formatDotenv, "a.env", "PASSWORD=" + planted + "\nUSER=me\n"},
		"JSON":               {formatJSON, "a.json", "{\n\t\"password\": \"" + planted + "\"\n}\n"},
		"YAML":               {formatYAML, "a.yaml", "password: " + planted + "\nlist:\n    - 1\n    - true\n"},
		"INI":                {formatINI, "a.ini", "[db]\npassword = " + planted + "\n"},
		"binary":             {formatBinary, "a.key", "\x00\x01" + planted},
		"dotenv, other name": {formatDotenv, "secrets", "PASSWORD=" + planted + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, by := range []*Keys{NewKeys(ageData), NewKeys(pgpData), NewKeys(nil, ageData)} {
				sealed := seal(t, tt.format, tt.plain, age, pgp)
				if strings.Contains(string(sealed), planted) {
					t.Fatalf("it is not encrypted: %s", sealed)
				}
				got, err := by.File(t.Context(), tt.file, sealed)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != tt.plain {
					t.Errorf("decrypted %q, want %q", got, tt.plain)
				}
			}
		})
	}
}

func TestPlainContentPasses(t *testing.T) {
	keys := NewKeys(nil)
	for name, data := range map[string]string{
		"text": "hello", "empty": "", "JSON": `{"a": "b"}`, "mention": "ENC[ is what sops writes", "dotenv": "A=ENC[x]\nsops=no\n",
	} {
		got, err := keys.File(t.Context(), name, []byte(data))
		if err != nil || string(got) != data {
			t.Errorf("%s became %q, %v", name, got, err)
		}
	}
	object := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"y"}}`
	if got, err := keys.Object(t.Context(), []byte(object)); err != nil || string(got) != object {
		t.Errorf("the object became %q, %v", got, err)
	}
}

func TestObjects(t *testing.T) {
	key, data := ageKey(t)
	keys := NewKeys(data)
	sealed := seal(t, formatJSON, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"stringData":{"password":"`+planted+`"}}`, key)
	got, err := keys.Object(t.Context(), sealed)
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		StringData map[string]string
		Sops       any
	}
	if err := json.Unmarshal(got, &object); err != nil {
		t.Fatal(err)
	}
	if object.StringData["password"] != planted || object.Sops != nil {
		t.Errorf("decrypted %s", got)
	}
	if text := secrets.Redact("said " + planted); strings.Contains(text, planted) {
		t.Error("the value is not known to redaction")
	}

	file := base64.StdEncoding.EncodeToString(seal(t, formatDotenv, "A="+planted+"\n", key))
	got, err = keys.Object(t.Context(), []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"x.env":"`+file+`","y":"aGk="}}`))
	if err != nil {
		t.Fatal(err)
	}
	var secret struct{ Data map[string][]byte }
	if err := json.Unmarshal(got, &secret); err != nil || string(secret.Data["x.env"]) != "A="+planted+"\n" || string(secret.Data["y"]) != "hi" {
		t.Errorf("decrypted %s, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	key, data := ageKey(t)
	_, other := ageKey(t)
	sealed := seal(t, formatYAML, "password: "+planted+"\n", key)
	at := strings.Index(string(sealed), "data:") + len("data:")
	tampered := []byte(string(sealed[:at]) + "AAAA" + string(sealed[at+4:]))
	many := seal(t, formatYAML, "a: "+planted+"\n", slices.Repeat([]sopskeys.MasterKey{key}, maxKeys+1)...)
	identity := strings.TrimSpace(strings.Split(string(data["test.agekey"]), "\n")[1])
	t.Setenv(sopsage.SopsAgeKeyEnv, identity) // must not be asked
	for name, tt := range map[string]struct {
		keys *Keys
		data []byte
		want error
		says string
	}{
		"no key at all":     {NewKeys(), sealed, ErrNoKey, ".agekey"},
		"another key":       {NewKeys(other), sealed, ErrNoKey, "age recipient"},
		"a broken key":      {NewKeys(map[string][]byte{"a.agekey": []byte("AGE-SECRET-KEY-" + planted)}), sealed, ErrKeys, "a.agekey"},
		"a plugin":          {NewKeys(map[string][]byte{"a.agekey": []byte("AGE-PLUGIN-YUBIKEY-1QQQQQQ")}), sealed, ErrKeys, "a.agekey"},
		"a broken PGP key":  {NewKeys(map[string][]byte{"a.asc": []byte(planted)}), sealed, ErrKeys, "a.asc"},
		"tampered with":     {NewKeys(data), tampered, ErrContent, "changed"},
		"too large":         {NewKeys(data), append(sealed, strings.Repeat("#\n", MaxSize/2)...), ErrTooLarge, "MiB"},
		"too many keys":     {NewKeys(data), many, ErrContent, "65 keys"},
		"metadata is noise": {NewKeys(data), []byte("a: ENC[x]\nsops: [" + planted + "]\n"), ErrContent, "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.keys.File(t.Context(), "a.yaml", tt.data)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error is %v, want %v that says %q", err, tt.want, tt.says)
			}
			if strings.Contains(err.Error(), planted) || strings.Contains(err.Error(), identity) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

func TestIDFollowsTheKeys(t *testing.T) {
	_, data := ageKey(t)
	_, other := ageKey(t)
	if NewKeys(data).ID() != NewKeys(maps.Clone(data)).ID() {
		t.Error("equal keys have two IDs")
	}
	if NewKeys(data).ID() == NewKeys(other).ID() || NewKeys(data).ID() == NewKeys().ID() {
		t.Error("other keys have the same ID")
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("sops_mac=ENC[x]\nA=ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n"))
	f.Add([]byte(`{"data":"ENC[x]","sops":{"mac":"ENC[x]"}}`))
	f.Add([]byte("a: ENC[x]\nsops:\n  mac: ENC[x]\n"))
	f.Add([]byte("[a]\nb = ENC[x]\n[sops]\nmac = ENC[x]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = NewKeys().File(t.Context(), "a", data) // must return
	})
}

package process

import (
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/spf13/pflag"
)

func TestFlagsOfTheWireAPI(t *testing.T) {
	var o options
	own := 0
	p := &Program{
		Name: "some-controller", Concurrent: 7, Inert: []string{"helm-cache-ttl"},
		Flags: func(fs *pflag.FlagSet) { fs.IntVar(&own, "token-cache-max-size", 100, "") },
	}
	fs := pflag.NewFlagSet(p.Name, pflag.ContinueOnError)
	o.bind(fs, p)
	for _, name := range []string{
		"metrics-addr", "health-addr", "events-addr", "concurrent", "log-level", "log-encoding", "enable-leader-election",
		"leader-election-release-on-cancel", "leader-election-lease-duration", "leader-election-renew-deadline",
		"leader-election-retry-period", "kube-api-qps", "kube-api-burst", "watch-all-namespaces", "watch-label-selector",
		"watch-configs-label-selector", "min-retry-delay", "max-retry-delay", "interval-jitter-percentage", "requeue-dependency",
		"default-service-account", "no-cross-namespace-refs", "feature-gates",
	} {
		if fs.Lookup(name) == nil {
			t.Errorf("--%s is missing", name)
		}
	}
	if err := fs.Parse([]string{"--helm-cache-ttl=15m", "--token-cache-max-duration", "1h", "--token-cache-max-size=5", "--concurrent=3"}); err != nil {
		t.Fatal(err)
	}
	if own != 5 || o.concurrent != 3 || fs.Lookup("metrics-addr").DefValue != ":8080" || fs.Lookup("health-addr").DefValue != ":9440" {
		t.Errorf("own = %d, concurrent = %d, metrics %s, health %s", own, o.concurrent, fs.Lookup("metrics-addr").DefValue, fs.Lookup("health-addr").DefValue)
	}
}

// A mistake in the arguments ends the program before it looks for a cluster.
func TestWrongArguments(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--no-such-flag"}, "unknown flag: --no-such-flag (--help lists the flags)"},
		{[]string{"--watch-all-namespaces", "false"}, `"false" is no flag: write a value with its flag`},
		{[]string{"--concurrent=0"}, "--concurrent=0: at least 1"},
		{[]string{"--log-level=warning"}, `--log-level="warning": use trace, debug, info or error`},
		{[]string{"--log-encoding=text"}, `--log-encoding="text": use json or console`},
	} {
		err := run(t.Context(), &Program{Name: "some-controller"}, tt.args)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error = %v, want one with %q", tt.args, err, tt.want)
		}
	}
}

func TestFeatureGates(t *testing.T) {
	p := &Program{Gates: map[string]bool{"A": true, "B": false}, Moot: map[string]string{"Old": "nothing is old"}}
	for name, tt := range map[string]struct {
		gates map[string]string
		want  map[string]bool // nil: refused
	}{
		"none":       {nil, map[string]bool{"A": true, "B": false}},
		"set":        {map[string]string{"A": "false", "B": "true"}, map[string]bool{"A": false, "B": true}},
		"moot":       {map[string]string{"Old": "true", "CacheSecretsAndConfigMaps": "true"}, map[string]bool{"A": true, "B": false}},
		"moot, no":   {map[string]string{"Old": "maybe"}, nil},
		"unknown":    {map[string]string{"C": "true"}, nil},
		"not a bool": {map[string]string{"A": "maybe"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&options{gates: tt.gates}).features(p)
			if (err != nil) != (tt.want == nil) {
				t.Fatalf("error = %v", err)
			}
			for gate, on := range tt.want {
				if got[gate] != on {
					t.Errorf("gate %s = %v, want %v", gate, got[gate], on)
				}
			}
		})
	}
}

// A gate that changes nothing is accepted, and the log says so and why.
func TestMootGatesAreTold(t *testing.T) {
	var lines []string
	log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
	o := &options{gates: map[string]string{"Old": "true", "A": "false", "CacheSecretsAndConfigMaps": "true"}}
	o.tellMoot(&Program{Gates: map[string]bool{"A": true}, Moot: map[string]string{"Old": "nothing is old"}}, log)
	if len(lines) != 2 || !strings.Contains(lines[0], "never cached") || !strings.Contains(lines[1], `"gate"="Old" "because"="nothing is old"`) {
		t.Errorf("the log says %q", lines)
	}
}

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// walSegmentBytes is what etcd allocates ahead per log segment, twice. Its default of 64 MB would make
// every test leave 128 MB behind.
const walSegmentBytes = 4 << 20

// store is etcd on a unix socket in a directory of its own. It knows no authentication, so nobody but
// us may reach it.
type store struct {
	etcd      *embed.Etcd
	endpoint  string // as --etcd-servers takes it
	socketDir string
}

// startStore runs etcd with its data in dir. Data does not survive a crash of the machine: nothing is
// synchronised to disk. Closed in order it survives a restart.
func startStore(ctx context.Context, dir, log string) (*store, error) {
	wal.SegmentSizeBytes = walSegmentBytes
	// The path of a unix socket is bounded to about 100 bytes, which a test's directory can exceed.
	socketDir, err := os.MkdirTemp("", "weir-etcd-")
	if err != nil {
		return nil, fmt.Errorf("directory for the socket of etcd: %w", err)
	}
	s := &store{socketDir: socketDir, endpoint: "unix://" + filepath.Join(socketDir, "s")}
	cfg, err := storeConfig(dir, log, s.endpoint)
	if err != nil {
		s.close()
		return nil, err
	}
	if s.etcd, err = embed.StartEtcd(cfg); err != nil {
		s.close()
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
		return s, nil
	case err = <-s.etcd.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.close()
	return nil, fmt.Errorf("starting etcd: %w", errors.Join(err))
}

func storeConfig(dir, log, endpoint string) (*embed.Config, error) {
	client, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("socket of etcd: %w", err)
	}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenClientUrls = []url.URL{*client}
	// A cluster of one has no peers to listen to; what it advertises are names that nobody uses.
	cfg.ListenPeerUrls = nil
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.UnsafeNoFsync = true
	cfg.TickMs, cfg.ElectionMs = 10, 100 // alone, it need not wait a second to be elected
	cfg.LogLevel = "error"
	cfg.LogOutputs = []string{log}
	return cfg, nil
}

func (s *store) close() {
	if s.etcd != nil {
		s.etcd.Close()
	}
	_ = os.RemoveAll(s.socketDir)
}

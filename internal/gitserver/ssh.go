package gitserver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// NewIdentity makes an SSH key pair: a private key in PEM, locked with the
// passphrase unless that is empty, and a line for authorized_keys.
func NewIdentity(passphrase string) (private, authorized []byte, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, nil, err
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(signer.PublicKey()), nil
}

func (s *Server) startSSH() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if s.hostKey, err = ssh.NewSignerFromKey(key); err != nil {
		return err
	}
	allowed := map[string]bool{}
	for _, line := range s.o.AuthorizedKeys {
		k, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			return fmt.Errorf("authorized key: %w", err)
		}
		allowed[string(k.Marshal())] = true
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if !allowed[string(k.Marshal())] {
			return nil, errors.New("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(s.hostKey)
	if s.shell, err = listen(s.o.SSHAddr, &s.counter); err != nil {
		return err
	}
	s.done.Go(func() { s.acceptSSH(cfg) })
	return nil
}

// KnownHosts is the line of a known_hosts file for the SSH server.
func (s *Server) KnownHosts() []byte {
	if s.shell == nil {
		return nil
	}
	return []byte(knownhosts.Line([]string{knownhosts.Normalize(s.shell.Addr().String())}, s.hostKey.PublicKey()) + "\n")
}

func (s *Server) acceptSSH(cfg *ssh.ServerConfig) {
	for {
		conn, err := s.shell.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() { s.serveSSH(conn, cfg) })
	}
}

func (s *Server) serveSSH(raw net.Conn, cfg *ssh.ServerConfig) {
	defer raw.Close()
	stop := make(chan struct{})
	defer close(stop)
	s.done.Go(func() { // Close cuts the connection
		select {
		case <-s.ctx.Done():
			raw.Close()
		case <-stop:
		}
	})
	_, channels, requests, err := ssh.NewServerConn(raw, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() { s.serveSession(channel, requests) })
	}
}

// serveSession takes the protocol from the environment and runs one command.
func (s *Server) serveSession(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	protocol := ""
	for r := range requests {
		var pair struct{ Name, Value string }
		var command struct{ Line string }
		switch {
		case r.Type == "env" && ssh.Unmarshal(r.Payload, &pair) == nil && pair.Name == "GIT_PROTOCOL" && !s.o.V0:
			protocol = pair.Value
			_ = r.Reply(true, nil)
		case r.Type == "exec" && ssh.Unmarshal(r.Payload, &command) == nil:
			_ = r.Reply(true, nil)
			go ssh.DiscardRequests(requests)
			status := s.runSSH(channel, command.Line, protocol)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			return
		default:
			_ = r.Reply(false, nil)
		}
	}
}

func (s *Server) runSSH(channel ssh.Channel, line, protocol string) uint32 {
	s.counter.requests.Add(1)
	program, arg, _ := strings.Cut(line, " ")
	name := strings.TrimPrefix(strings.Trim(arg, "'"), "/")
	service, ok := strings.CutPrefix(program, "git-")
	if !ok || service != "upload-pack" && service != "receive-pack" {
		fmt.Fprintf(channel.Stderr(), "%q is not served here\n", program)
		return 128
	}
	dir := s.Dir(name)
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(channel.Stderr(), "fatal: '%s' does not appear to be a git repository\n", name)
		return 128
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(s.ctx, gitPath, service, dir)
	cmd.Env = s.env()
	if protocol != "" {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+protocol)
	}
	cmd.Stdout, cmd.Stderr = channel, &stderr
	err := feed(cmd, channel)
	_, _ = io.Copy(channel.Stderr(), &stderr)
	if service == "receive-pack" {
		s.pushed(name)
	}
	if err != nil {
		return 128
	}
	return 0
}

// feed runs cmd with in as its input. A plain cmd.Stdin would make Wait hang
// until the client has closed its side, which it does only afterwards.
func feed(cmd *exec.Cmd, in io.Reader) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stdin, in)
		stdin.Close()
	}()
	return cmd.Wait()
}

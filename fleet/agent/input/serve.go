package input

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"muster.dev/proto/event"
)

// Agent takes what is said. Sync gives how many readings and events wait for the clock and are in memory only.
type Agent interface {
	RecordSet(values map[string]any, at time.Time) error
	Event(e event.Device) error
	Sync() (waiting int, err error)
}

const (
	maxUsers   = 32
	answerTime = 5 * time.Second
)

// Serve listens on a unix socket at path until ctx ends. Who may write to the socket's file may speak for the device: it is
// its owner's and its group's. status gives what the line status is answered by.
func Serve(ctx context.Context, path string, a Agent, status func() any, log *slog.Logger) error {
	l, err := listen(path)
	if err != nil {
		return err
	}
	var users sync.WaitGroup
	defer users.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	places := make(chan struct{}, maxUsers)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			log.Warn("socket", "error", err) // of this one user, or for want of file descriptors
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			_ = conn.SetWriteDeadline(time.Now().Add(answerTime))
			_, _ = fmt.Fprintf(conn, "error: %d others use the socket\n", maxUsers)
			_ = conn.Close()
			continue
		}
		users.Go(func() {
			defer func() { <-places }()
			end := context.AfterFunc(ctx, func() { conn.Close() })
			defer end()
			defer conn.Close()
			_ = Read(conn, patient{conn}, a, status)
		})
	}
}

// listen takes the path over from an agent that has ended without removing it.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("socket %s: somebody listens there", path)
	} else if info, failed := os.Lstat(path); failed == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}

// patient gives up a user who does not read the answers.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

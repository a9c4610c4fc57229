package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

var errNobody = errors.New("no agent listens")

func (s *settings) dial(ctx context.Context) (*net.UnixConn, func(), error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	for late := time.Now().Add(s.wait); err != nil && time.Now().Before(late) && ctx.Err() == nil; {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w on %s: %w; start one with `muster-agent run`, and --wait 1m waits for it", errNobody, s.socket, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn.(*net.UnixConn), func() { stop(); conn.Close() }, nil
}

// ask gives the agent lines, and returns nil when all of them are on the disk.
func (s *settings) ask(ctx context.Context, lines io.Reader, stdout, stderr io.Writer) error {
	conn, end, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer end()
	// Answers are read while lines are written: else each could wait for the other.
	var answered, sent error
	var wg sync.WaitGroup
	wg.Go(func() { answered = answers(conn, stdout, stderr) })
	if _, sent = io.Copy(conn, lines); sent == nil {
		sent = conn.CloseWrite()
	}
	if sent != nil {
		conn.Close()
	}
	wg.Wait()
	return errors.Join(sent, answered)
}

// answers reads until the agent closes: the last line must be ok, and none may be an error.
func answers(r io.Reader, stdout, stderr io.Writer) error {
	lines := bufio.NewScanner(r)
	wrong, last := 0, ""
	for lines.Scan() {
		last = lines.Text()
		if strings.HasPrefix(last, "error") {
			wrong++
			fmt.Fprintln(stderr, last)
		} else {
			fmt.Fprintln(stdout, last)
		}
	}
	switch {
	case lines.Err() != nil:
		return fmt.Errorf("the agent's answer: %w", lines.Err())
	case !strings.HasPrefix(last, "ok"):
		return errors.New("the agent did not say that all is on the disk")
	case wrong > 0:
		return fmt.Errorf("%d lines were not taken", wrong)
	}
	return nil
}

// status asks the agent how it stands.
func (s *settings) status(ctx context.Context, stdout, stderr io.Writer) error {
	conn, end, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer end()
	if _, err := io.WriteString(conn, "status\n"); err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the agent's answer: %w", err)
	}
	_, err = io.WriteString(stdout, line)
	return err
}

package supervise

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// steady is how long a process must live for its next death to count as the first.
const steady = time.Minute

// holdEvery is how often a process is looked at for being held.
const holdEvery = 200 * time.Millisecond

// process is one program and the operating system's process that runs it now.
type process struct {
	program Program
	owner   *Supervisor
	quit    chan struct{} // closed by stop: do not start again
	done    chan struct{} // closed when nothing runs any more
	ended   string        // why, valid after done
	faulted bool          // it ended by itself and complained; keep's alone

	life     context.Context // ends with stop
	end      context.CancelFunc
	watching sync.WaitGroup // watch

	mu       sync.Mutex // guards those below
	cmd      *exec.Cmd
	log      *os.File
	began    time.Time
	restarts int
	unready  time.Time

	reporting sync.Mutex // what changed first is reported first
	away      bool       // under reporting: it is stopped on request, and nothing is reported
}

// launch starts the program once.
func (p *process) launch() error {
	log, err := openLog(p.program.Log, p.owner.settings.LogCap)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.program.Name, err)
	}
	cmd := p.owner.command(p.program, log)
	if err := cmd.Start(); err != nil {
		log.Close()
		return fmt.Errorf("starting %s: %w", p.program.Name, err)
	}
	p.mu.Lock()
	p.cmd, p.log, p.began = cmd, log, time.Now()
	p.mu.Unlock()
	p.report(func() { p.away = false })
	return nil
}

// report tells the owner what the process is doing after a change, unless it is away.
func (p *process) report(change func()) {
	p.reporting.Lock()
	defer p.reporting.Unlock()
	change()
	if p.away {
		p.owner.settings.Stopped(p.program.Name)
		return
	}
	p.owner.settings.Changed(p.state())
}

// keep waits for the process to end and, once it had been ready, starts it again. It owns done.
func (p *process) keep(ready <-chan struct{}) {
	defer close(p.done)
	gap := p.owner.settings.FirstGap
	for {
		held := p.attend()
		select {
		case <-p.quit:
			return
		default:
		}
		select {
		case <-ready:
		default:
			return // the first start is the caller's to judge
		}
		if held {
			if !p.waitReleased() {
				return
			}
			p.owner.tell(p.program.Name, "starting again")
		} else {
			if time.Since(p.began) > steady {
				gap = p.owner.settings.FirstGap
			}
			said := ""
			if p.faulted {
				said = ", which ends: " + LastLine(p.program.Log)
			}
			p.owner.tell(p.program.Name, fmt.Sprintf("ended (%s); starting it again in %s, its log is %s%s", p.ended, gap, p.program.Log, said))
			if !p.pause(gap) {
				return
			}
			gap = min(2*gap, p.owner.settings.LastGap)
			p.mu.Lock()
			p.restarts++
			p.mu.Unlock()
		}
		for err := p.launch(); err != nil; err = p.launch() {
			p.owner.tell(p.program.Name, fmt.Sprintf("%v; trying again in %s", err, gap))
			if !p.pause(gap) {
				return
			}
			gap = min(2*gap, p.owner.settings.LastGap)
		}
		// A stop that came between the pause and the launch saw the process before this one.
		select {
		case <-p.quit:
			p.signal(syscall.SIGTERM)
		default:
		}
	}
}

// attend waits until the process has ended, and stops it when it is held. It says which.
func (p *process) attend() (held bool) {
	stopTurning := p.turnLogs()
	defer stopTurning()
	exit := make(chan error, 1)
	go func() { exit <- p.cmd.Wait() }()
	look := time.NewTicker(holdEvery)
	defer look.Stop()
	var kill <-chan time.Time
	for {
		select {
		case err := <-exit:
			p.log.Close()
			p.ended = "exit status 0"
			p.faulted = false
			if err != nil {
				p.ended = err.Error()
				p.faulted = p.cmd.ProcessState.ExitCode() > 0
			}
			if held {
				p.report(func() { p.away = true })
			} else {
				p.noteUnready(time.Now())
			}
			return held
		case <-look.C:
			if !held && p.owner.settings.Held(p.program.Name) {
				held = true
				p.owner.tell(p.program.Name, "stopped on request, until it is released")
				p.signal(syscall.SIGTERM)
				kill = time.After(p.program.StopLimit)
			}
		case <-kill:
			p.signal(syscall.SIGKILL)
		}
	}
}

// waitReleased is false when the stop came first.
func (p *process) waitReleased() bool {
	for p.owner.settings.Held(p.program.Name) {
		if !p.pause(holdEvery) {
			return false
		}
	}
	return true
}

// pause is false when the stop came first.
func (p *process) pause(d time.Duration) bool {
	select {
	case <-p.quit:
		return false
	case <-time.After(d):
		return true
	}
}

// stop asks the process to end and waits; past the limit, or when ctx ends, it kills it.
func (p *process) stop(ctx context.Context) error {
	close(p.quit)
	p.end()
	defer p.watching.Wait()
	p.signal(syscall.SIGTERM)
	limit := time.NewTimer(p.program.StopLimit)
	defer limit.Stop()
	why := fmt.Sprintf("did not stop within %s", p.program.StopLimit)
	select {
	case <-p.done:
		return nil
	case <-limit.C:
	case <-ctx.Done():
		why = "was not given time to stop"
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s %s and was killed; its log is %s", p.program.Name, why, p.program.Log)
}

// signal sends sig to the process that runs now; one that has ended is left alone.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(sig) // the only error is that it has ended
}

func (p *process) state() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return State{
		Name: p.program.Name, PID: p.cmd.Process.Pid, Started: p.began, Restarts: p.restarts, Unready: p.unready,
		Ready: p.program.Ready, Log: p.program.Log,
	}
}

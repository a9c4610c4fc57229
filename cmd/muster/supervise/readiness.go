package supervise

import (
	"fmt"
	"time"
)

// lookEvery is how often a process is asked whether it is ready; tellAfter is how long one is not before a person is
// told, so that a process that is merely started again says one sentence.
const (
	lookEvery = time.Second
	tellAfter = 2 * time.Second
)

// watch asks again and again whether the process is ready, until stop: a process that hangs, or waits for another, has
// not ended, and nobody would know since when.
func (p *process) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-p.life.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		err := answers(p.life, p.program.Ready)
		if p.life.Err() != nil {
			return
		}
		if err == nil {
			if lasted := p.noteReady(); told {
				told = false
				p.owner.tell(p.program.Name, fmt.Sprintf("ready again after %s", lasted.Round(time.Second)))
			}
			continue
		}
		since := p.noteUnready(began)
		if !told && time.Since(since) > tellAfter && !p.isAway() {
			told = true
			p.owner.tell(p.program.Name, "not ready: "+plain(err))
		}
	}
}

// noteUnready keeps the first moment of a time in which the process is not ready, and gives it.
func (p *process) noteUnready(now time.Time) (since time.Time) {
	p.mu.Lock()
	first := p.unready.IsZero()
	if first {
		p.unready = now
	}
	since = p.unready
	p.mu.Unlock()
	if first && !p.isAway() {
		p.report(func() {})
	}
	return since
}

// noteReady ends that time and says how long it was.
func (p *process) noteReady() (lasted time.Duration) {
	p.mu.Lock()
	since := p.unready
	p.unready = time.Time{}
	p.mu.Unlock()
	if since.IsZero() {
		return 0
	}
	p.report(func() {})
	return time.Since(since)
}

func (p *process) isAway() bool {
	p.reporting.Lock()
	defer p.reporting.Unlock()
	return p.away
}

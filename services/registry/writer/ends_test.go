package writer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFloodOfQuestionsForTheLogsEndIsOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var end, asked int64
		began := time.Now()
		e := newEnds(func(context.Context) (int64, error) {
			asked++
			told := end // as it is when the question is put
			time.Sleep(10 * time.Millisecond)
			return told, nil
		})
		var wg sync.WaitGroup
		for range 1_000 {
			wg.Go(func() {
				if _, err := e.wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		end = 7 // everybody's question but the first one's is put after this
		wg.Go(func() {
			if got, err := e.wait(t.Context()); err != nil || got != 7 {
				t.Errorf("an end that was acknowledged before the question: %d, %v", got, err)
			}
		})
		wg.Wait()
		if asked != 2 || time.Since(began) != 20*time.Millisecond {
			t.Errorf("%d questions in %v, want 2", asked, time.Since(began))
		}
	})
}

func TestWhoGoesAwayTakesNobodysAnswerAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnds(func(ctx context.Context) (int64, error) {
			select {
			case <-time.After(time.Second):
				return 3, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // puts the first question, and leaves
			if got, err := e.wait(first); err != nil || got != 3 {
				t.Errorf("who put the question has its answer: %d, %v", got, err)
			}
		})
		synctest.Wait()
		wg.Go(func() { // will put the second
			if got, err := e.wait(t.Context()); err != nil || got != 3 {
				t.Errorf("%d, %v", got, err)
			}
		})
		synctest.Wait() // or the one below might come before it, and put that question
		began := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		wg.Go(func() {
			_, err := e.wait(short)
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 10*time.Millisecond {
				t.Errorf("one without patience: %v after %v", err, took)
			}
		})
		leave()
		wg.Wait()
	})
}

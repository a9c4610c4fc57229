package incident

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"muster.dev/proto/event"
)

func TestEachRunbookIsThere(t *testing.T) {
	causes := map[event.IncidentKind][]string{
		event.SilentCohort: {CauseRegion, CausePower, CauseRadio, CauseUpdate, CauseUnknown}, event.Pipeline: {CauseLog, CauseGateway},
		event.UpdateFailure: {CauseFailures, CauseInstall, CauseHealth}, event.TelemetryAnomaly: {CauseDevice, CausePeers},
		event.Spend: {CauseVolume}, event.Security: {CauseClone, CauseKnocking, CauseEnrolmentBurst}, "weather": {"rain"},
	}
	index, err := os.ReadFile("../../../docs/runbooks/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, of := range causes {
		for _, cause := range append(of, CauseMany) {
			page := Runbook(kind, cause)
			text, err := os.ReadFile(filepath.Join("../../../docs/runbooks", page))
			if err != nil {
				t.Error(err)
				continue
			}
			if kind == "weather" {
				continue
			}
			if !bytes.Contains(index, []byte("("+page+")")) {
				t.Errorf("the index of the runbooks has no %s", page)
			}
			if cause != CauseMany && !bytes.Contains(text, []byte("`"+cause+"`")) {
				t.Errorf("%s does not say what to do about cause %s", page, cause)
			}
		}
	}
}

func TestTitlesSayWhatItIs(t *testing.T) {
	at := int64(1_790_000_100_000)
	of := func(expected int64) []event.Number {
		return []event.Number{{Name: "expected", Micro: expected * 1e6, Unit: "devices"}}
	}
	for want, i := range map[string]event.Incident{
		"cohort pumps: 1 device is silent since 2026-09-21 14:15 UTC":                                        {Kind: event.SilentCohort, Cause: CauseUnknown, Subject: event.Subject{Cohort: "pumps"}, Count: 1},
		"cohort pumps: 1 of 3 devices is silent since 2026-09-21 14:15 UTC":                                  {Kind: event.SilentCohort, Subject: event.Subject{Cohort: "pumps"}, Count: 1, Numbers: of(3)},
		"cohort pumps: 1 of 1 device is silent since 2026-09-21 14:15 UTC":                                   {Kind: event.SilentCohort, Subject: event.Subject{Cohort: "pumps"}, Count: 1, Numbers: of(1)},
		"region eu: 60 devices are silent since 2026-09-21 14:15 UTC":                                        {Kind: event.SilentCohort, Cause: CauseRegion, Subject: event.Subject{Region: "eu"}, Count: 60},
		"no gateway of region eu is heard since 2026-09-21 14:15 UTC: our own side, not the devices":         {Kind: event.Pipeline, Subject: event.Subject{Region: "eu"}},
		"gateway gw-1 is out since 2026-09-21 14:15 UTC: our own side, not the devices":                      {Kind: event.Pipeline, Subject: event.Subject{Gateway: "gw-1"}},
		"nothing is heard since 2026-09-21 14:15 UTC: our own side, not the devices":                         {Kind: event.Pipeline},
		"nothing was heard from 2026-09-21 14:15 UTC to 2026-09-21 14:16 UTC: our own side, not the devices": {Kind: event.Pipeline, State: event.IncidentResolved, ResolvedAt: at + 60_000},
		"rollout r-7 of cohort pumps fails: 12 devices with it are worse off":                                {Kind: event.UpdateFailure, Subject: event.Subject{Rollout: "r-7", Cohort: "pumps"}, Count: 12},
		"pump-1: temp_c is unlike before since 2026-09-21 14:15 UTC":                                         {Kind: event.TelemetryAnomaly, Subject: event.Subject{Device: "pump-1", Metric: "temp_c", Cohort: "pumps"}},
		"pump-1: more than one metric is unlike before since 2026-09-21 14:15 UTC":                           {Kind: event.TelemetryAnomaly, Subject: event.Subject{Device: "pump-1"}},
		"cohort pumps: temp_c of 9 devices is unlike before since 2026-09-21 14:15 UTC":                      {Kind: event.TelemetryAnomaly, Subject: event.Subject{Cohort: "pumps", Metric: "temp_c"}, Count: 9},
		"cohort pumps: more of temp_c than forecast since 2026-09-21 14:15 UTC":                              {Kind: event.Spend, Subject: event.Subject{Cohort: "pumps", Metric: "temp_c"}},
		"cohort pumps: more comes in than forecast since 2026-09-21 14:15 UTC":                               {Kind: event.Spend, Subject: event.Subject{Cohort: "pumps"}},
		"pump-1 looks like two devices since 2026-09-21 14:15 UTC":                                           {Kind: event.Security, Cause: CauseClone, Subject: event.Subject{Device: "pump-1"}},
		"the registry: what is not allowed is tried again and again since 2026-09-21 14:15 UTC":              {Kind: event.Security, Cause: CauseKnocking, Subject: event.Subject{Gateway: Registry}},
		"gateway gw-1: revoked identities keep knocking since 2026-09-21 14:15 UTC":                          {Kind: event.Security, Cause: CauseKnocking, Subject: event.Subject{Gateway: "gw-1"}},
		"the fleet: far more devices enrol than usual since 2026-09-21 14:15 UTC":                            {Kind: event.Security, Cause: CauseEnrolmentBurst},
		"the fleet: odd since 2026-09-21 14:15 UTC":                                                          {Kind: event.Security, Cause: "odd"},
	} {
		i.Since = at
		if got := title(&i, 0); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Two of three may have been silent for a minute, and one of them for a day: the title says how many there were at once, and from
// when to when there was one.
func TestTheTitleOfASilenceThatIsOverSaysHowManyThereWereAtOnce(t *testing.T) {
	i := event.Incident{
		Kind: event.SilentCohort, Cause: CausePower, Subject: event.Subject{Cohort: "pumps"}, State: event.IncidentResolved,
		Since: 1_790_000_100_000, ResolvedAt: 1_790_000_160_000, Numbers: []event.Number{{Name: "expected", Micro: 3e6, Unit: "devices"}},
	}
	for worst, want := range []string{
		1: "cohort pumps: 1 of 3 devices was silent from 2026-09-21 14:15 UTC to 2026-09-21 14:16 UTC, likely cause: power",
		2: "cohort pumps: up to 2 of 3 devices were silent at once, from 2026-09-21 14:15 UTC to 2026-09-21 14:16 UTC, likely cause: power",
		4: "cohort pumps: up to 4 devices were silent at once, from 2026-09-21 14:15 UTC to 2026-09-21 14:16 UTC, likely cause: power",
	} {
		if got := title(&i, uint32(worst)); want != "" && got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestATextIsCutBetweenLettersAndHoldsNoControls(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "ab\ncd": "ab cd", "éééé": "éé", "a\xffb": "a b", "aééé": "aéé", "\u0085x": " x", "": ""} {
		if got := plain(in, 5); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

package fate

// Moment changes what a device does.
type Moment struct {
	At       int64
	Crashed  int64 // of the crash that a boot comes from; 0 is none
	Took     int64 // of an update, so far
	Level    float64
	PerMS    float64 // Level and this: the battery from a boot on
	Kind     Kind
	Reason   Word   // of a boot
	Crash    Word   // reason of the crash
	OTA      Word   // result that is reported
	Version  uint16 // that runs from a boot on
	From, To uint16
}

// Kind says what a moment is.
type Kind uint8

// Kinds of moments.
const (
	Boots    Kind = iota
	GoesDown      // it has no power, or is between two boots
	Hangs         // it is on and says nothing
	Resumes       // it goes on as if it had not hung
	Reports       // it says how an update stands
)

// Up says whether the device can send after the moment.
func (m *Moment) Up(before bool) bool {
	switch m.Kind {
	case Boots, Resumes:
		return true
	case GoesDown, Hangs:
		return false
	}
	return before
}

// Word is what devices report: reasons of boots and crashes, results of updates.
type Word uint8

const (
	Nothing Word = iota
	powerOn
	brownout
	watchdog
	software
	panicked
	byOTA
	rollback
	noMemory
	otaStarted
	otaDownloaded
	otaOK
	otaFailed
	otaRolledBack
	Postponed
)

var words = [...]string{"", "power_on", "brownout", "watchdog", "software", "panic", "ota", "rollback", "out_of_memory",
	"started", "downloaded", "ok", "failed", "rolled_back", "postponed"}

func (w Word) String() string { return words[w] }

package stack

import (
	"context"
	"fmt"
	"time"

	"muster.dev/embedded/clickhouse"
	"muster.dev/embedded/kafka"
	"muster.dev/fleet/simulator"
	"muster.dev/fleet/simulator/realtime"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly"
	"muster.dev/services/anomaly/deliver"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/sink"
	"muster.dev/services/registry"
	"muster.dev/services/retention"
)

// parts are the processes of a stack in the order in which they start: what a record meets last comes first, so
// that each finds what it writes to, and the stop, which is the reverse, drains forward.
func parts() []Part {
	return []Part{
		part(Kafka, "the log", kafkaDefaults, configureKafka, runKafka),
		part(ClickHouse, "the store", clickhouseDefaults, configureClickHouse, runClickHouse),
		part(Registry, "devices, their certificates, topics and schemas", registry.DefaultConfig, configureRegistry, registry.Run),
		part(Sink, "from the log to the store", sink.DefaultConfig, configureSink, sink.Run),
		part(Retention, "roll-ups", retention.DefaultConfig, configureRetention, retention.Run),
		part(Anomaly, "from the log to incidents", anomaly.DefaultConfig, configureAnomaly, anomaly.Run),
		part(Gateway, "takes what devices say", gateway.DefaultConfig, configureGateway, gateway.Run),
		part(Fleet, "simulated devices", fleetDefaults, configureFleet, runFleet),
	}
}

// ops is a process's own section.
func ops(name string, s Site) daemon.Config {
	c := daemon.DefaultConfig()
	c.Listen = Loopback(s.Ports.Ops[name])
	c.StopTimeout = stopLimit - 5*time.Second
	return c
}

// logAs is how a principal reaches the log.
func logAs(principal string, s Site) eventlog.Config {
	c := eventlog.DefaultConfig()
	c.Brokers, c.ClientID = []string{Loopback(s.Ports.Kafka)}, "muster-"+principal
	c.User, c.SecretFile = principal, s.Dir.SecretFile("kafka-"+principal)
	return c
}

// Store is how a service reaches the warehouse.
func Store(d Dir, p Ports) warehouse.Config {
	c := warehouse.DefaultConfig()
	c.Addr, c.User, c.SecretFile = p.ClickHouseURL(), serviceUser, d.SecretFile(SecretClickHouse)
	return c
}

// serviceUser is what services are called in the store.
const serviceUser = "muster"

func configureGateway(c *gateway.Config, s Site) {
	c.Ops, c.Log = ops(Gateway, s), logAs(principals.Gateway, s)
	c.Name, c.Listen, c.TrustDomain, c.Region = "local", Loopback(s.Ports.Gateway), s.TrustDomain, s.Region
	c.MQTT.Listen = Loopback(s.Ports.MQTT)
	// A device that speaks once a minute keeps its connection: a handshake costs more than a message.
	c.Limits.IdleTimeout = 150 * time.Second
	c.TLS.Certificate, c.TLS.Key, c.TLS.ClientCA = s.Dir.Certificate(Gateway), s.Dir.Key(Gateway), s.Dir.ClientBundle()
}

func configureSink(c *sink.Config, s Site) {
	c.Ops, c.Log, c.Warehouse = ops(Sink, s), logAs(principals.Sink, s), Store(s.Dir, s.Ports)
	c.Group = principals.Group
}

func configureRegistry(c *registry.Config, s Site) {
	c.Ops, c.Log, c.Warehouse = ops(Registry, s), logAs(principals.Registry, s), Store(s.Dir, s.Ports)
	c.CA, c.CASealFile = s.Dir.CA(), s.Dir.SecretFile(SecretCASeal)
	c.EST.Listen, c.EST.CertFile, c.EST.KeyFile = Loopback(s.Ports.EST), s.Dir.Certificate(Registry), s.Dir.Key(Registry)
	c.API.Listen, c.API.TokenFile = Loopback(s.Ports.Registry), s.Dir.SecretFile(SecretOperator)
}

func configureRetention(c *retention.Config, s Site) {
	c.Ops, c.Warehouse = ops(Retention, s), Store(s.Dir, s.Ports)
}

func configureAnomaly(c *anomaly.Config, s Site) {
	c.Ops, c.Log, c.Warehouse = ops(Anomaly, s), logAs(principals.Anomaly, s), Store(s.Dir, s.Ports)
	c.Deliver.Routes = s.routes()
}

// routes are the receivers of incidents.
func (s Site) routes() []deliver.Route {
	if s.Alertmanager == "" {
		return nil
	}
	return []deliver.Route{{Name: "alertmanager", Alertmanager: &deliver.Alertmanager{URLs: []string{s.Alertmanager}}}}
}

// CheckAlertmanager says what is wrong with a URL that an Order is to have.
func CheckAlertmanager(url string) error {
	c := deliver.DefaultConfig()
	c.Routes = Site{Alertmanager: url}.routes()
	return c.Validate()
}

// kafkaConfig is what the log's process reads; the broker itself knows no files.
type kafkaConfig struct {
	Ops     daemon.Config `yaml:"ops"`
	Listen  string        `yaml:"listen"`
	DataDir string        `yaml:"data_dir"`
	// Simulated says that the log is a simulation's, whose records are as old as its time says: they stay, whatever they weigh.
	Simulated bool         `yaml:"simulated"`
	Secrets   kafkaSecrets `yaml:"secrets"`
}

type kafkaSecrets struct {
	Admin        daemon.Secret `yaml:"admin"`
	AdminFile    string        `yaml:"admin_file"`
	Gateway      daemon.Secret `yaml:"gateway"`
	GatewayFile  string        `yaml:"gateway_file"`
	Sink         daemon.Secret `yaml:"sink"`
	SinkFile     string        `yaml:"sink_file"`
	Registry     daemon.Secret `yaml:"registry"`
	RegistryFile string        `yaml:"registry_file"`
	Anomaly      daemon.Secret `yaml:"anomaly"`
	AnomalyFile  string        `yaml:"anomaly_file"`
	Reader       daemon.Secret `yaml:"reader"`
	ReaderFile   string        `yaml:"reader_file"`
}

func kafkaDefaults() kafkaConfig { return kafkaConfig{Ops: daemon.DefaultConfig()} }

func configureKafka(c *kafkaConfig, s Site) {
	c.Ops, c.Listen, c.DataDir = ops(Kafka, s), Loopback(s.Ports.Kafka), s.Dir.Kafka()
	c.Simulated = s.Dir.Simulated()
	c.Secrets = kafkaSecrets{
		AdminFile: s.Dir.SecretFile(SecretKafkaAdmin), GatewayFile: s.Dir.SecretFile(SecretKafkaGateway), SinkFile: s.Dir.SecretFile(SecretKafkaSink),
		RegistryFile: s.Dir.SecretFile(SecretKafkaRegistry), AnomalyFile: s.Dir.SecretFile(SecretKafkaAnomaly), ReaderFile: s.Dir.SecretFile(SecretKafkaReader),
	}
}

// Telemetry on a laptop is bounded in bytes, but what is younger than a day stays: the store may have been away.
const (
	telemetryCap  = 2 << 30
	telemetryKeep = 24 * time.Hour
)

func runKafka(ctx context.Context, p *daemon.Process, c kafkaConfig) error {
	cfg := kafka.DefaultConfig()
	cfg.Listen, cfg.DataDir, cfg.Log = c.Listen, c.DataDir, p.Log
	cfg.Users = logUsers(map[string]daemon.Secret{
		principals.Admin: c.Secrets.Admin, principals.Gateway: c.Secrets.Gateway, principals.Sink: c.Secrets.Sink,
		principals.Registry: c.Secrets.Registry, principals.Anomaly: c.Secrets.Anomaly, principals.Reader: c.Secrets.Reader,
	})
	if !c.Simulated {
		cfg.Caps = map[string]kafka.Cap{record.TopicTelemetry: {Bytes: telemetryCap / int64(cfg.Partitions), Keep: telemetryKeep}}
	}
	cfg.Unwritable = func(err error) { failStop(p.Log, c.DataDir, err) }
	broker, err := kafka.Start(cfg)
	if err != nil {
		return err
	}
	p.SetReady("broker", func() error { return answers(broker.Check) })
	p.SetReady("disk", func() error { return roomy(c.DataDir) })
	p.OnStop("broker", func(context.Context) error { broker.Close(); return nil })
	return admitLibrdkafka(ctx, broker, eventlog.Config{User: principals.Admin, Secret: c.Secrets.Admin})
}

type clickhouseConfig struct {
	Ops        daemon.Config `yaml:"ops"`
	Listen     string        `yaml:"listen"`
	DataDir    string        `yaml:"data_dir"`
	User       string        `yaml:"user"`
	Secret     daemon.Secret `yaml:"secret"`
	SecretFile string        `yaml:"secret_file"`
}

func clickhouseDefaults() clickhouseConfig {
	return clickhouseConfig{Ops: daemon.DefaultConfig(), User: serviceUser}
}

func configureClickHouse(c *clickhouseConfig, s Site) {
	c.Ops, c.Listen, c.DataDir, c.SecretFile = ops(ClickHouse, s), Loopback(s.Ports.ClickHouse), s.Dir.ClickHouse(), s.Dir.SecretFile(SecretClickHouse)
}

func runClickHouse(_ context.Context, p *daemon.Process, c clickhouseConfig) error {
	cfg := clickhouse.DefaultConfig()
	cfg.Listen, cfg.DataDir, cfg.ServiceUser, cfg.ServiceSecret, cfg.Log = c.Listen, c.DataDir, c.User, c.Secret.Reveal(), p.Log
	cfg.Derived = warehouse.IsDerived
	server, err := clickhouse.Start(cfg)
	if err != nil {
		return err
	}
	p.SetReady("engine", func() error { return answers(server.Check) })
	p.SetReady("disk", func() error { return roomy(c.DataDir) })
	p.OnStop("server", func(context.Context) error { server.Close(); return nil })
	return nil
}

// fleetConfig is the simulator's with a process around it.
type fleetConfig struct {
	Ops      daemon.Config    `yaml:"ops"`
	Fleet    simulator.Config `yaml:"fleet"`
	Scenario liveConfig       `yaml:"scenario"`
}

// Validate names the first key that cannot be used.
func (c fleetConfig) Validate() error {
	if err := c.Fleet.Validate(); err != nil {
		return fmt.Errorf("fleet.%w", err)
	}
	if c.Scenario.File == "" {
		return nil
	}
	if err := c.Scenario.RealTime.Validate(); err != nil {
		return fmt.Errorf("scenario.real_time.%w", err)
	}
	return nil
}

func fleetDefaults() fleetConfig {
	return fleetConfig{Ops: daemon.DefaultConfig(), Fleet: simulator.DefaultConfig(), Scenario: liveConfig{RealTime: realtime.DefaultConfig()}}
}

func configureFleet(c *fleetConfig, s Site) {
	c.Ops = ops(Fleet, s)
	c.Fleet.Identities, c.Fleet.Gateway.Gateway, c.Fleet.Devices = s.Dir.Identities(), s.Ports.GatewayURL(), s.simulated()
	c.Scenario.RealTime = s.RealTime(0)
	if s.World != nil {
		c.Fleet.Devices = nil // the scenario names them
		c.Scenario.File, c.Scenario.Truth = s.Dir.scenario(), s.Dir.truth()
	}
}

func runFleet(_ context.Context, p *daemon.Process, c fleetConfig) error {
	if c.Scenario.File != "" {
		return runScenario(p, c)
	}
	f, err := simulator.New(c.Fleet, simulator.Settings{Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	p.Go("devices", f.Run)
	return nil
}

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
)

// Server is one simulated vCenter or ESXi host. The library keeps its inventory in a global, so a process has one.
type Server struct {
	settings Settings
	model    *simulator.Model
	client   *vim25.Client // in this process, past TLS and login
	web      *http.Server
	listener net.Listener

	world   sync.Mutex // held by whoever reads or changes the inventory or what is below
	arrived *sync.Cond // a task is held or has ended

	plans      []*Plan
	calls      map[string]int
	missing    map[string]bool  // privileges
	deafGuests map[string]bool  // names of machines whose guests do not shut down when they are asked to
	body       []byte           // of the request under way
	capacity   map[string]int64 // of disks, by the name of their base file, in bytes
	occupied   map[string]int64 // by files on datastores, in bytes
	snapshots  int              // how many there have been: their references
	recalled   bool             // from now on what happens is written down
	there      *place           // where machines are made
}

func newServer(settings Settings) (*Server, error) {
	s := &Server{
		settings: settings, calls: map[string]int{}, missing: map[string]bool{}, deafGuests: map[string]bool{},
		capacity: map[string]int64{}, occupied: map[string]int64{}, snapshots: 1000,
	}
	s.arrived = sync.NewCond(&s.world)
	simulator.SessionIdleTimeout = time.Duration(settings.SessionIdleSeconds * float64(time.Second))
	simulator.Trace = settings.Trace
	pair, err := tls.LoadX509KeyPair(settings.Certificate, settings.Key)
	if err != nil {
		return nil, err
	}
	if err := os.Chdir(settings.Folder); err != nil {
		return nil, err
	}
	if err := s.makeModel(); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", settings.Listen); err != nil {
		return nil, err
	}
	s.startLibrary()
	s.web = &http.Server{
		Handler:           s,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that do not trust the certificate
		// The client's cookie and connection belong together; HTTP/2 would mix them.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	go s.web.ServeTLS(s.listener, "", "")
	return s, nil
}

// startLibrary has the library set up its doors. It insists on listening by itself, which ends at once: ours stands
// before it.
func (s *Server) startLibrary() {
	service := s.model.Service
	service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(s.settings.Username, s.settings.Password)}
	service.NewServer().Listener.Close()
}

func (s *Server) makeModel() error {
	switch s.settings.Model {
	case "vcenter":
		s.model = simulator.VPX()
		s.model.Host = 0
		s.model.ClusterHost = s.settings.Hosts
	case "esxi":
		s.model = simulator.ESX()
	default:
		return fmt.Errorf("no such model: %q", s.settings.Model)
	}
	s.model.Machine = 0   // ours have names, disks, folders
	s.model.Datastore = 0 // nor are its datastores ours
	about := &s.model.ServiceContent.About
	about.FullName = fmt.Sprintf("%s %s build-%s (simulator)", about.Name, about.Version, about.Build)
	about.Vendor = "govmomi simulator"
	if s.settings.InstanceUUID != "" && s.settings.Model == "vcenter" {
		about.InstanceUuid = s.settings.InstanceUUID
	}
	if err := s.model.Create(); err != nil {
		return err
	}
	s.watchPrivileges()
	s.watchCollector()
	var err error
	if s.client, err = vim25.NewClient(context.Background(), s.model.Service); err != nil {
		return err
	}
	if err := s.furnish(context.Background()); err != nil {
		return err
	}
	return s.recall()
}

func (s *Server) url() string {
	return fmt.Sprintf("https://%s/sdk", s.listener.Addr())
}

// with does something while nobody else is at the inventory.
func (s *Server) with(do func() bool) bool {
	s.world.Lock()
	defer s.world.Unlock()
	return do()
}

// close drops every connection.
func (s *Server) close() {
	if s.web != nil {
		s.web.Close()
	}
}

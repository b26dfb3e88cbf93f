package main

import (
	"bytes"
	"encoding/json"
)

// Settings is what a server is made from. Sizes are bytes.
type Settings struct {
	Model              string // "vcenter" or "esxi" (a host without vCenter)
	Folder             string // an empty one, for the datastores; it is the parent's to delete
	Listen             string // host:port, port 0 for any
	Username           string
	Password           string
	Certificate        string // path of the PEM file, its chain included
	Key                string // path of the PEM file
	InstanceUUID       string // of the vCenter, empty for the library's own
	SessionIdleSeconds float64
	Hosts              int // of the one cluster
	Datastores         []DatastoreSettings
	Machines           []MachineSettings
	LooseDisks         []LooseDisk
	TaskSeconds        float64 // how long each task takes; 0: done before its call returns
	Remember           string  // a file that keeps the forests over a restart, empty for none
	Trace              bool    // the SOAP traffic and the library's log go to standard error
}

// DatastoreSettings gives a datastore its size; the library would report the computer's own disk.
type DatastoreSettings struct {
	CapacityBytes int64
	FreeBytes     int64
}

// MachineSettings describes one virtual machine.
type MachineSettings struct {
	Name      string
	Running   bool
	MemoryMiB int64
	DiskBytes []int64           // one disk each
	Folder    string            // below the datacenter's folder for machines, with "/" between names
	Pool      string            // a child of the cluster's resource pool
	Fields    map[string]string // custom attributes
	Tools     bool              // VMware Tools run in the guest
	Snapshots int               // so many, in a row, each below the one before
}

// LooseDisk is a disk file on a datastore that no machine uses.
type LooseDisk struct {
	Path  string // "[LocalDS_0] spare/spare.vmdk"
	Bytes int64
}

// decode refuses fields that it does not know, so that a misspelt one does not pass as absent.
func decode(line []byte, into interface{}) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

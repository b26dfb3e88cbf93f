package main

import (
	"os"
	"path"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Files on the datastores. They are sparse: their size shows, nothing is in them.

func (s *Server) datastore(name string) *simulator.Datastore {
	for _, entity := range simulator.Map.All("Datastore") {
		if store := entity.(*simulator.Datastore); store.Name == name {
			return store
		}
	}
	return nil
}

func (s *Server) onDisk(file string) (*simulator.Datastore, string) {
	var where object.DatastorePath
	if !where.FromString(file) {
		return nil, ""
	}
	store := s.datastore(where.Datastore)
	if store == nil {
		return nil, ""
	}
	return store, path.Join(store.Info.GetDatastoreInfo().Url, where.Path)
}

func (s *Server) putFile(file string, size int64) {
	if _, known := s.occupied[file]; known {
		return
	}
	s.occupied[file] = size
	store, place := s.onDisk(file)
	if store == nil {
		return
	}
	s.charge(store, size)
	if made, err := os.Create(place); err == nil {
		_ = made.Truncate(size)
		_ = made.Close()
	}
}

// dropFile deletes what belonged to a snapshot. A disk of the machine's own stays when it is detached, and so do files of
// the library's.
func (s *Server) dropFile(file string) {
	_, ours := s.occupied[file]
	if _, own := s.capacity[file]; own || !ours {
		return
	}
	store, place := s.onDisk(file)
	if store != nil {
		s.charge(store, -s.occupied[file])
		_ = os.Remove(place)
	}
	delete(s.occupied, file)
}

func (s *Server) charge(store *simulator.Datastore, size int64) {
	s.setFree(store, store.Summary.FreeSpace-size)
}

func (s *Server) setFree(store *simulator.Datastore, free int64) {
	if free < 0 {
		free = 0
	}
	store.Info.GetDatastoreInfo().FreeSpace = free
	simulator.Map.Update(store, []types.PropertyChange{{Name: "summary.freeSpace", Val: free}})
}

// freeSpace and setFreeSpace undo what the library books for disks that were there before.
func (s *Server) freeSpace() map[string]int64 {
	free := map[string]int64{}
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		free[store.Name] = store.Summary.FreeSpace
	}
	return free
}

func (s *Server) setFreeSpace(free map[string]int64) {
	for name, bytes := range free {
		if store := s.datastore(name); store.Summary.FreeSpace != bytes {
			s.setFree(store, bytes)
		}
	}
}

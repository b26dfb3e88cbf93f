package main

import (
	"regexp"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// HostDatastoreBrowser stands in place of the library's, which finds the files of a datastore but knows nothing of
// disks: here they have their sizes, and folders are written as vSphere writes them.
type HostDatastoreBrowser struct {
	simulator.HostDatastoreBrowser

	server *Server
}

func (s *Server) watchBrowsers() {
	for _, entity := range simulator.Map.All("Datastore") {
		reference := entity.(*simulator.Datastore).Browser
		if plain, ok := simulator.Map.Get(reference).(*simulator.HostDatastoreBrowser); ok {
			simulator.Map.Put(&HostDatastoreBrowser{HostDatastoreBrowser: *plain, server: s})
		}
	}
}

// SearchDatastoreTask looks into one folder.
func (b *HostDatastoreBrowser) SearchDatastoreTask(request *types.SearchDatastore_Task) soap.HasFault {
	answer := b.HostDatastoreBrowser.SearchDatastoreTask(request)
	b.refine(answer.(*methods.SearchDatastore_TaskBody).Res.Returnval, request.SearchSpec)
	return answer
}

// SearchDatastoreSubFoldersTask looks below it too.
func (b *HostDatastoreBrowser) SearchDatastoreSubFoldersTask(request *types.SearchDatastoreSubFolders_Task) soap.HasFault {
	answer := b.HostDatastoreBrowser.SearchDatastoreSubFoldersTask(request)
	b.refine(answer.(*methods.SearchDatastoreSubFolders_TaskBody).Res.Returnval, request.SearchSpec)
	return answer
}

func (b *HostDatastoreBrowser) refine(task ref, asked *types.HostDatastoreBrowserSearchSpec) {
	info := &simulator.Map.Get(task).(*simulator.Task).Info
	switch found := info.Result.(type) {
	case types.ArrayOfHostDatastoreBrowserSearchResults:
		for i := range found.HostDatastoreBrowserSearchResults {
			b.refineFolder(&found.HostDatastoreBrowserSearchResults[i], asked)
		}
	case types.HostDatastoreBrowserSearchResults:
		b.refineFolder(&found, asked)
		info.Result = found
	}
}

func (b *HostDatastoreBrowser) refineFolder(
	found *types.HostDatastoreBrowserSearchResults, asked *types.HostDatastoreBrowserSearchSpec,
) {
	// "[LocalDS_0]/web" is "[LocalDS_0] web/".
	if store, below, ok := strings.Cut(found.FolderPath, "]"); ok {
		found.FolderPath = store + "]"
		if below = strings.Trim(below, "/ "); below != "" {
			found.FolderPath += " " + below + "/"
		}
	}
	for _, file := range found.File {
		name := strings.TrimSuffix(found.FolderPath, "/")
		if strings.HasSuffix(found.FolderPath, "/") {
			name += "/" + file.GetFileInfo().Path
		} else {
			name += " " + file.GetFileInfo().Path
		}
		if asked != nil && asked.Details != nil && asked.Details.FileSize {
			if size, known := b.server.occupied[name]; known {
				file.GetFileInfo().FileSize = size
			}
		}
		if disk, ok := file.(*types.VmDiskFileInfo); ok && wantsCapacity(asked) {
			disk.CapacityKb = b.server.capacity[base(name)] / 1024
			disk.DiskType = "VirtualDiskFlatVer2BackingInfo"
		}
	}
}

// base gives the disk that a delta file belongs to: "web/disk1.vmdk" for "web/disk1-000002.vmdk".
func base(file string) string {
	if delta := deltaName.FindStringIndex(file); delta != nil {
		return file[:delta[0]] + ".vmdk"
	}
	return file
}

var deltaName = regexp.MustCompile(`-\d{6}\.vmdk$`)

func wantsCapacity(asked *types.HostDatastoreBrowserSearchSpec) bool {
	if asked == nil {
		return false
	}
	for _, query := range asked.Query {
		if disks, ok := query.(*types.VmDiskFileQuery); ok && disks.Details != nil && disks.Details.CapacityKb {
			return true
		}
	}
	return false
}

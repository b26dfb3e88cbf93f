package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/types"
)

// place is where machines are made.
type place struct {
	datacenter *object.Datacenter
	folders    *object.DatacenterFolders
	root       *object.ResourcePool
	network    object.NetworkReference
	hosts      []*object.HostSystem
	pools      map[string]*object.ResourcePool
	made       map[string]*object.Folder
}

// furnish makes what the settings ask for.
func (s *Server) furnish(ctx context.Context) error {
	there, err := s.lookAround(ctx)
	if err != nil {
		return err
	}
	s.there = there
	for i := range s.settings.Datastores {
		if err := makeDatastore(ctx, there, fmt.Sprintf("LocalDS_%d", i)); err != nil {
			return err
		}
	}
	s.watchBrowsers()
	for _, asked := range s.settings.Machines {
		if err := s.makeMachine(ctx, there, asked); err != nil {
			return fmt.Errorf("machine %s: %w", asked.Name, err)
		}
	}
	for _, asked := range s.settings.LooseDisks {
		if err := s.makeLooseDisk(ctx, there, asked); err != nil {
			return fmt.Errorf("disk %s: %w", asked.Path, err)
		}
	}
	// After the machines, which the library charges with disks it does not fill.
	for i, asked := range s.settings.Datastores {
		if err := setSize(fmt.Sprintf("LocalDS_%d", i), asked); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) lookAround(ctx context.Context) (*place, error) {
	finder := find.NewFinder(s.client, false)
	datacenter, err := finder.DefaultDatacenter(ctx)
	if err != nil {
		return nil, err
	}
	finder.SetDatacenter(datacenter)
	there := &place{
		datacenter: datacenter,
		pools:      map[string]*object.ResourcePool{},
		made:       map[string]*object.Folder{},
	}
	if there.folders, err = datacenter.Folders(ctx); err != nil {
		return nil, err
	}
	// The only pool, as none has been made yet below the cluster's or the host's own.
	if there.root, err = finder.DefaultResourcePool(ctx); err != nil {
		return nil, err
	}
	networks, err := finder.NetworkList(ctx, "*")
	if err != nil {
		return nil, err
	}
	there.network = networks[0]
	hosts := "*/*" // of all clusters
	if s.settings.Model == "esxi" {
		hosts = "*"
	}
	if there.hosts, err = finder.HostSystemList(ctx, hosts); err != nil {
		return nil, err
	}
	return there, nil
}

// makeDatastore makes a folder for a datastore where the process is, and tells all hosts of it. The library makes the
// datastore's reference out of the path: this one is short, and the same after a restart.
func makeDatastore(ctx context.Context, there *place, name string) error {
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	for _, host := range there.hosts {
		system, err := host.ConfigManager().DatastoreSystem(ctx)
		if err != nil {
			return err
		}
		if _, err := system.CreateLocalDatastore(ctx, name, name); err != nil {
			return err
		}
	}
	return nil
}

func setSize(name string, asked DatastoreSettings) error {
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if store.Name != name {
			continue
		}
		simulator.Map.Update(store, []types.PropertyChange{
			{Name: "summary.capacity", Val: asked.CapacityBytes},
			{Name: "summary.freeSpace", Val: asked.FreeBytes},
			{Name: "summary.url", Val: "ds:///vmfs/volumes/" + name + "/"},
		})
		store.Info.GetDatastoreInfo().FreeSpace = asked.FreeBytes
		return nil
	}
	return fmt.Errorf("no datastore %s", name)
}

// folder makes the folders of a path like "web/production" where they are missing.
func (p *place) folder(ctx context.Context, asked string) (*object.Folder, error) {
	folder := p.folders.VmFolder
	walked := ""
	for _, name := range strings.Split(asked, "/") {
		if name == "" {
			continue
		}
		walked = path.Join(walked, name)
		if p.made[walked] == nil {
			made, err := folder.CreateFolder(ctx, name)
			if err != nil {
				return nil, err
			}
			p.made[walked] = made
		}
		folder = p.made[walked]
	}
	return folder, nil
}

func (p *place) pool(ctx context.Context, name string) (*object.ResourcePool, error) {
	if name == "" {
		return p.root, nil
	}
	if p.pools[name] == nil {
		made, err := p.root.Create(ctx, name, types.DefaultResourceConfigSpec())
		if err != nil {
			return nil, err
		}
		p.pools[name] = made
	}
	return p.pools[name], nil
}

func (s *Server) makeMachine(ctx context.Context, there *place, asked MachineSettings) error {
	if s.settings.Model == "esxi" {
		asked.Folder, asked.Fields = "", nil // only a vCenter has folders for machines and custom attributes
	}
	folder, err := there.folder(ctx, asked.Folder)
	if err != nil {
		return err
	}
	pool, err := there.pool(ctx, asked.Pool)
	if err != nil {
		return err
	}
	spec, err := there.spec(ctx, asked)
	if err != nil {
		return err
	}
	task, err := folder.CreateVM(ctx, spec, pool, nil)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	vm := s.wrap(info.Result.(types.ManagedObjectReference))
	vm.toolsOn = asked.Tools
	if asked.Running {
		vm.setPower(types.VirtualMachinePowerStatePoweredOn)
	} else {
		vm.setTools(asked.Tools)
	}
	for i := 1; i <= asked.Snapshots; i++ {
		s.snapshots++
		vm.grow(node{
			Snapshot:   snapshotRef(fmt.Sprintf("snapshot-%d", s.snapshots)),
			Name:       fmt.Sprintf("%s %d", asked.Name, i),
			CreateTime: time.Now().UTC(),
			State:      types.VirtualMachinePowerStatePoweredOff,
		}, false)
	}
	return s.mark(ctx, vm, asked)
}

func (p *place) spec(ctx context.Context, asked MachineSettings) (types.VirtualMachineConfigSpec, error) {
	spec := types.VirtualMachineConfigSpec{
		Name:     asked.Name,
		GuestId:  string(types.VirtualMachineGuestOsIdentifierOtherGuest),
		MemoryMB: asked.MemoryMiB,
		Files:    &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0]"},
	}
	var devices object.VirtualDeviceList
	controller, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return spec, err
	}
	devices = append(devices, controller)
	for i, size := range asked.DiskBytes {
		file := path.Join(asked.Name, fmt.Sprintf("disk%d.vmdk", i+1))
		disk := devices.CreateDisk(controller.(types.BaseVirtualController), types.ManagedObjectReference{}, "[LocalDS_0] "+file)
		disk.CapacityInKB = size / 1024
		disk.CapacityInBytes = size
		devices = append(devices, disk)
	}
	card := esx.EthernetCard
	if card.Backing, err = p.network.EthernetCardBackingInfo(ctx); err != nil {
		return spec, err
	}
	devices = append(devices, &card)
	spec.DeviceChange, err = devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	return spec, err
}

func (s *Server) makeLooseDisk(ctx context.Context, there *place, asked LooseDisk) error {
	var where object.DatastorePath
	if !where.FromString(asked.Path) {
		return fmt.Errorf("not a datastore path")
	}
	files := object.NewFileManager(s.client)
	above := object.DatastorePath{Datastore: where.Datastore, Path: path.Dir(where.Path)}
	if err := files.MakeDirectory(ctx, above.String(), there.datacenter, true); err != nil {
		return err
	}
	task, err := object.NewVirtualDiskManager(s.client).CreateVirtualDisk(ctx, asked.Path, there.datacenter,
		&types.FileBackedVirtualDiskSpec{
			VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"},
			CapacityKb:      asked.Bytes / 1024,
		})
	if err != nil {
		return err
	}
	s.capacity[asked.Path] = asked.Bytes
	s.occupied[asked.Path] = asked.Bytes / thinPart
	return task.Wait(ctx)
}

// mark gives the machine its custom attributes.
func (s *Server) mark(ctx context.Context, vm *VirtualMachine, asked MachineSettings) error {
	if len(asked.Fields) == 0 {
		return nil
	}
	manager, err := object.GetCustomFieldsManager(s.client)
	if err != nil {
		return err
	}
	for name, value := range asked.Fields {
		key, err := manager.FindKey(ctx, name)
		if err != nil {
			made, err := manager.Add(ctx, name, "VirtualMachine", nil, nil)
			if err != nil {
				return err
			}
			key = made.Key
		}
		if err := manager.Set(ctx, vm.Self, key, value); err != nil {
			return err
		}
	}
	return nil
}

/**
 * Keys of xlcfg(5) that have no effect here, and why; and those whose absence a guest would not survive. All other keys of a file
 * are in request.ts, or unknown.
 */
const SCREEN = 'guests have no screen; "domus console" is their console';
const HVM = 'only meaningful for HVM guests';
const PV = 'only meaningful for PV guests';
const HARDWARE = 'the processor is Domus’s own and always the same';
const NUMA = 'the guest’s memory is in one place';
const SECURITY = 'there is no security module';

const because = (why: string, ...keys: string[]): [string, string][] => keys.map(key => [key, why]);

/** They warn. */
export const IGNORED: ReadonlyMap<string, string> = new Map([
  ...because(
    SCREEN,
    ...[
      'vfb',
      'vnc',
      'vnclisten',
      'vncdisplay',
      'vncunused',
      'vncpasswd',
      'sdl',
      'opengl',
      'spice',
      'stdvga',
    ],
    ...['vga', 'videoram', 'keymap', 'nographic', 'vkb', 'vdispl', 'display', 'xauthority', 'vncviewer'],
    ...[
      'vncautopass',
      'spiceport',
      'spicehost',
      'spicetls_port',
      'spicedisable_ticketing',
      'usbdevice',
      'usb',
    ],
  ),
  ...because(
    HVM,
    ...[
      'boot',
      'hap',
      'pae',
      'acpi',
      'acpi_s3',
      'acpi_s4',
      'apic',
      'nx',
      'hpet',
      'bios',
      'firmware_override',
    ],
    ...[
      'device_model_version',
      'device_model_override',
      'device_model_args',
      'device_model_args_hvm',
      'xen_platform_pci',
    ],
    ...[
      'device_model_stubdomain_override',
      'viridian',
      'soundhw',
      'localtime',
      'vpt_align',
      'timer_mode',
      'rdm',
      'hdtype',
    ],
    ...[
      'serial',
      'parallel',
      'mmio_hole',
      'altp2m',
      'nestedhvm',
      'smbios_firmware',
      'acpi_firmware',
      'acpi_laptop_slate',
    ],
    ...['ms_vm_genid', 'ioemu', 'secondary_vga', 'gfx_passthru', 'max_event_channels', 'xen_extended_cpuid'],
  ),
  ...because(
    PV,
    'e820_host',
    'superpages',
    'pvh',
    'bootloader_args',
    'passthrough',
    'suppress_spurious_page_faults',
  ),
  ...because(
    HARDWARE,
    'cpuid',
    'cpuid_overrides',
    'msr_relaxed',
    'tsc_mode',
    'vtsc',
    'assisted_xapic',
    'assisted_x2apic',
  ),
  ...because(
    NUMA,
    'vnuma',
    'nodes',
    'cpus_soft',
    'claim_mode',
    'shadow_memory',
    'iomem',
    'ioports',
    'irqs',
    'gic_version',
  ),
  ...because(SECURITY, 'seclabel', 'device_model_seclabel', 'init_seclabel', 'xsm'),
  ...because('there is one pool of processors', 'pool'),
  ...because('the real time scheduler of Xen is not there', 'period', 'budget', 'extratime'),
  ...because('a clock that differs is the guest’s own business', 'rtc_timeoffset'),
  ...because(
    'all guests of a user share one process',
    'driver_domain',
    'device_tree',
    'dm_restrict',
    'vuart',
  ),
  ...because(
    'limits are fixed',
    'max_grant_frames',
    'max_maptrack_frames',
    'max_grant_version',
    'event_channels',
  ),
  ...because('no core is dumped', 'enable_core_dump'),
  ...because('soft reset is not there', 'on_soft_reset', 'on_watchdog'),
  ...because('Domus reads the first disk itself', 'bootloader', 'firmware'),
]);

/** They are refused: a guest without them would not be what was asked for. */
export const REFUSED: ReadonlyMap<string, string> = new Map([
  ...because('there are no PCI devices to pass on', 'pci', 'dtdev', 'pci_permissive'),
  ...because('there are no USB devices to pass on', 'usbctrl', 'usbdev'),
  ...because('there is no TPM', 'vtpm'),
  ...because('there are no sound devices', 'vsnd'),
  ...because('folders go to guests that run commands', 'p9'),
  ...because('channels are not there; "domus console" and "domus exec" are', 'channel'),
  ...because('no SCSI devices are passed on', 'vscsi'),
]);

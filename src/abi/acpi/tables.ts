/**
 * The ACPI tables of a PVH guest, as libxl lays them out: RSDP, XSDT, FADT revision 5, FACS, DSDT, MADT. They say
 * "processors and nothing else": no IO-APIC, no PM timer, no keyboard controller, no VGA, no RTC.
 *
 * Differences from libxl's tables, all to keep a guest from poking ports that nothing answers: no GPE block, and power and
 * sleep button are declared to be devices (of which there are none). Processors carry no hotplug methods.
 */
import { invariant } from '../../base/errors.ts';
import { concat, name, processor, scope, string } from './aml.ts';
import {
  ADDRESS_SPACE_IO,
  BootArch,
  Facs,
  Fadt,
  FadtFlag,
  MADT_CPU_ENABLED,
  MADT_PCAT_COMPAT,
  Madt,
  MadtLocalApic,
  MadtLocalX2apic,
  RSDP_V1_BYTES,
  Rsdp,
  TableHeader,
  xsdt,
} from './structures.ts';

/** What the tables say of one processor. Linux under Xen takes the ACPI id for Xen's vCPU number. */
export interface AcpiProcessor {
  readonly acpiId: number;
  readonly apicId: number;
  readonly enabled: boolean;
}

export interface AcpiTables {
  /** The bytes from `base` on. */
  readonly image: Uint8Array;
  /** Guest-physical address of the RSDP. */
  readonly rsdp: number;
}

const LOCAL_APIC_ADDRESS = 0xfee00000;
const PM1A_EVENT_PORT = 0xb000;
const PM1A_CONTROL_PORT = 0xb004;

const ascii = (text: string) => Uint8Array.from(text, c => c.charCodeAt(0));

/** The byte that makes the sum of all bytes zero. */
export function checksumByte(bytes: Uint8Array): number {
  let sum = 0;
  for (const b of bytes) sum += b;
  return -sum & 0xff;
}

/** Fill in a finished table's header, the checksum last. */
function seal(table: Uint8Array, signature: string, revision: number): Uint8Array {
  const header = TableHeader.at(new DataView(table.buffer, table.byteOffset, table.byteLength), 0);
  header.signature.set(ascii(signature));
  header.length = table.length;
  header.revision = revision;
  header.oemId.set(ascii('Xen   '));
  header.oemTableId.set(ascii('HVM     '));
  header.creatorId.set(ascii('HVML'));
  header.checksum = 0;
  header.checksum = checksumByte(table);
  return table;
}

function dsdt(processors: readonly AcpiProcessor[]): Uint8Array {
  const objects = processors.map(({ acpiId }) => {
    // The name only has to be unique; ids above 254 do not fit the object and are told by _UID alone.
    const label = `P${acpiId.toString(16).toUpperCase().padStart(3, '0')}`;
    return processor(label, acpiId & 0xff, name('_HID', string('ACPI0007')));
  });
  return seal(concat(new Uint8Array(TableHeader.size), scope('\\_SB', ...objects)), 'DSDT', 5);
}

function facs(): Uint8Array {
  const table = new Uint8Array(Facs.size);
  const fields = Facs.at(new DataView(table.buffer), 0);
  fields.signature.set(ascii('FACS'));
  fields.length = Facs.size;
  fields.version = 1;
  return table;
}

function fadt(facsAddress: number, dsdtAddress: number): Uint8Array {
  const table = new Uint8Array(Fadt.size);
  const fields = Fadt.at(new DataView(table.buffer), 0);
  fields.firmwareCtrl = facsAddress;
  fields.dsdt = dsdtAddress;
  fields.xDsdt = dsdtAddress;
  fields.sciInt = 9;
  fields.pm1aEvtBlk = PM1A_EVENT_PORT;
  fields.pm1EvtLen = 4;
  fields.pm1aCntBlk = PM1A_CONTROL_PORT;
  fields.pm1CntLen = 2;
  const event = fields.xPm1aEvtBlk;
  event.addressSpace = ADDRESS_SPACE_IO;
  event.bitWidth = 32;
  event.accessSize = 2;
  event.location = PM1A_EVENT_PORT;
  const control = fields.xPm1aCntBlk;
  control.addressSpace = ADDRESS_SPACE_IO;
  control.bitWidth = 16;
  control.accessSize = 2;
  control.location = PM1A_CONTROL_PORT;
  // Beyond what the specification lets C2 and C3 take: neither exists.
  fields.pLvl2Lat = 0x0fff;
  fields.pLvl3Lat = 0x0fff;
  fields.iapcBootArch = BootArch.noVga | BootArch.noCmosRtc;
  fields.flags =
    FadtFlag.wbinvd |
    FadtFlag.procC1 |
    FadtFlag.powerButtonIsDevice |
    FadtFlag.sleepButtonIsDevice |
    FadtFlag.rtcWakeNotFixed |
    FadtFlag.pmTimer32 |
    FadtFlag.usePlatformClock;
  return seal(table, 'FACP', 5);
}

function madt(processors: readonly AcpiProcessor[]): Uint8Array {
  const entries = processors.map(({ acpiId, apicId, enabled }) => {
    const flags = enabled ? MADT_CPU_ENABLED : 0;
    if (apicId < 0xff && acpiId < 0xff) {
      const entry = new Uint8Array(MadtLocalApic.size);
      const fields = MadtLocalApic.at(new DataView(entry.buffer), 0);
      fields.length = entry.length;
      fields.processorId = acpiId;
      fields.apicId = apicId;
      fields.flags = flags;
      return entry;
    }
    const entry = new Uint8Array(MadtLocalX2apic.size);
    const fields = MadtLocalX2apic.at(new DataView(entry.buffer), 0);
    fields.type = 9;
    fields.length = entry.length;
    fields.x2apicId = apicId;
    fields.flags = flags;
    fields.processorUid = acpiId;
    return entry;
  });
  const table = concat(new Uint8Array(Madt.size), ...entries);
  const fields = Madt.at(new DataView(table.buffer), 0);
  fields.localApicAddress = LOCAL_APIC_ADDRESS;
  fields.flags = MADT_PCAT_COMPAT;
  return seal(table, 'APIC', 2);
}

function rootPointer(xsdtAddress: number): Uint8Array {
  const table = new Uint8Array(Rsdp.size);
  const fields = Rsdp.at(new DataView(table.buffer), 0);
  fields.signature.set(ascii('RSD PTR '));
  fields.oemId.set(ascii('Xen   '));
  fields.revision = 2;
  fields.length = Rsdp.size;
  fields.xsdtAddress = xsdtAddress;
  fields.checksum = checksumByte(table.subarray(0, RSDP_V1_BYTES));
  fields.extendedChecksum = checksumByte(table);
  return table;
}

/** All tables, laid out from `base` (page-aligned, below 4 GiB) with the RSDP last. */
export function buildAcpiTables(base: number, processors: readonly AcpiProcessor[]): AcpiTables {
  invariant(base % 4096 === 0, 'ACPI tables start on a page');
  const parts: { at: number; bytes: Uint8Array }[] = [];
  let next = base;
  const place = (bytes: Uint8Array, align: number): number => {
    next = Math.ceil(next / align) * align;
    parts.push({ at: next, bytes });
    next += bytes.length;
    return next - bytes.length;
  };
  const facsAddress = place(facs(), 64);
  const dsdtAddress = place(dsdt(processors), 64);
  const tables = [place(fadt(facsAddress, dsdtAddress), 16), place(madt(processors), 16)];
  const Xsdt = xsdt(tables.length);
  const root = new Uint8Array(Xsdt.size);
  const { entries } = Xsdt.at(new DataView(root.buffer), 0);
  tables.forEach((address, i) => {
    entries.set(i, address);
  });
  const rsdp = place(rootPointer(place(seal(root, 'XSDT', 1), 16)), 64);
  const image = new Uint8Array(next - base);
  for (const { at, bytes } of parts) image.set(bytes, at - base);
  return { image, rsdp };
}

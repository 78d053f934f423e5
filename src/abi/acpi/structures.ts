/**
 * ACPI table structures that a PVH guest is given. ACPI packs its structures, so every field has alignment 1.
 *
 * Source: ACPI specification 5.0, chapter 5.2.
 */
import {
  aligned,
  array,
  bytes,
  type FieldType,
  u8 as natural8,
  u16 as natural16,
  u32 as natural32,
  u64n as natural64,
  struct,
} from '../../base/struct.ts';

const packed = <T>(field: FieldType<T>) => aligned(1, field);
const u8 = natural8;
const u16 = packed(natural16);
const u32 = packed(natural32);
const u64 = packed(natural64);

/** Root system description pointer (5.2.5.3). */
export const Rsdp = struct('acpi_rsdp', {
  signature: bytes(8),
  checksum: u8,
  oemId: bytes(6),
  revision: u8,
  rsdtAddress: u32,
  length: u32,
  xsdtAddress: u64,
  extendedChecksum: u8,
  reserved: bytes(3),
});
/** The part that ACPI 1.0 knows, over which the first checksum runs. */
export const RSDP_V1_BYTES = 20;

/** System description table header (5.2.6). */
export const TableHeader = struct('acpi_header', {
  signature: bytes(4),
  length: u32,
  revision: u8,
  checksum: u8,
  oemId: bytes(6),
  oemTableId: bytes(8),
  oemRevision: u32,
  creatorId: bytes(4),
  creatorRevision: u32,
});

/** Generic address structure (5.2.3.1). */
export const GenericAddress = struct('acpi_generic_address', {
  addressSpace: u8,
  bitWidth: u8,
  bitOffset: u8,
  accessSize: u8,
  location: u64,
});
export const ADDRESS_SPACE_IO = 1;

/** Fixed ACPI description table, revision 5 (5.2.9): 268 bytes. */
export const Fadt = struct('acpi_fadt', {
  header: TableHeader,
  firmwareCtrl: u32,
  dsdt: u32,
  reserved0: u8,
  preferredPmProfile: u8,
  sciInt: u16,
  smiCmd: u32,
  acpiEnable: u8,
  acpiDisable: u8,
  s4BiosReq: u8,
  pstateCnt: u8,
  pm1aEvtBlk: u32,
  pm1bEvtBlk: u32,
  pm1aCntBlk: u32,
  pm1bCntBlk: u32,
  pm2CntBlk: u32,
  pmTmrBlk: u32,
  gpe0Blk: u32,
  gpe1Blk: u32,
  pm1EvtLen: u8,
  pm1CntLen: u8,
  pm2CntLen: u8,
  pmTmrLen: u8,
  gpe0BlkLen: u8,
  gpe1BlkLen: u8,
  gpe1Base: u8,
  cstCnt: u8,
  pLvl2Lat: u16,
  pLvl3Lat: u16,
  flushSize: u16,
  flushStride: u16,
  dutyOffset: u8,
  dutyWidth: u8,
  dayAlarm: u8,
  monthAlarm: u8,
  century: u8,
  iapcBootArch: u16,
  reserved1: u8,
  flags: u32,
  resetReg: GenericAddress,
  resetValue: u8,
  armBootArch: u16,
  minorVersion: u8,
  xFirmwareCtrl: u64,
  xDsdt: u64,
  xPm1aEvtBlk: GenericAddress,
  xPm1bEvtBlk: GenericAddress,
  xPm1aCntBlk: GenericAddress,
  xPm1bCntBlk: GenericAddress,
  xPm2CntBlk: GenericAddress,
  xPmTmrBlk: GenericAddress,
  xGpe0Blk: GenericAddress,
  xGpe1Blk: GenericAddress,
  sleepControlReg: GenericAddress,
  sleepStatusReg: GenericAddress,
});

/** FADT.iapcBootArch (5.2.9.3). */
export const BootArch = {
  legacyDevices: 1,
  i8042: 2,
  noVga: 4,
  noMsi: 8,
  noAspm: 16,
  noCmosRtc: 32,
} as const;
/** FADT.flags (table 5-35). */
export const FadtFlag = {
  wbinvd: 1 << 0,
  procC1: 1 << 2,
  powerButtonIsDevice: 1 << 4,
  sleepButtonIsDevice: 1 << 5,
  rtcWakeNotFixed: 1 << 6,
  pmTimer32: 1 << 8,
  usePlatformClock: 1 << 15,
} as const;

/** Firmware ACPI control structure (5.2.10). */
export const Facs = struct('acpi_facs', {
  signature: bytes(4),
  length: u32,
  hardwareSignature: u32,
  wakingVector: u32,
  globalLock: u32,
  flags: u32,
  xWakingVector: u64,
  version: u8,
  reserved: bytes(3),
  ospmFlags: u32,
  reserved2: bytes(24),
});

/** Multiple APIC description table, without its entries (5.2.12). */
export const Madt = struct('acpi_madt', { header: TableHeader, localApicAddress: u32, flags: u32 });
export const MADT_PCAT_COMPAT = 1;

/** MADT entry type 0: processor local APIC. */
export const MadtLocalApic = struct('acpi_madt_local_apic', {
  type: u8,
  length: u8,
  processorId: u8,
  apicId: u8,
  flags: u32,
});
/** MADT entry type 9: processor local x2APIC, for APIC ids of 255 and more. */
export const MadtLocalX2apic = struct('acpi_madt_local_x2apic', {
  type: u8,
  length: u8,
  reserved: u16,
  x2apicId: u32,
  flags: u32,
  processorUid: u32,
});
export const MADT_CPU_ENABLED = 1;

/** Extended system description table with `count` entries (5.2.8). */
export const xsdt = (count: number) =>
  struct('acpi_xsdt', { header: TableHeader, entries: array(u64, count) });

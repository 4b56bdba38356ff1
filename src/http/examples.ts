/** Examples of the published document: one backup, `web1/site.tar`, in all of them. Their types are checked where they are used. */

const BACKUP_ID = '01JC8Z5V3M9QK2T7W4X6Y8B0CD';
const OTHER_ID = '01JC8Z6A0B1C2D3E4F5G6H7J8K';
const CHECKSUM = 'cb0e179dfb4be84b2aaeb66fa25b24ed1a0cf9ac4d9b0b1b8e8a3e4f0d6c7b5a';
const CREATED = '2026-11-23T07:30:00.000Z';
const EXPIRES = '2026-11-23T08:30:00.000Z';
const SIGNED = 'expires=1795422600&key_id=k1&signature=R7x2vQ0m3n8Jt5cKp1Lw9Yb4Zs6Ad0Ue2Gf7Hi3Oj5M';
const VAULT = 'https://vault.example.org';

export const BACKUP = {
  backup_id: BACKUP_ID,
  job_id: 'nightly',
  name: 'web1/site.tar',
  filename: 'site.tar',
  content_type: 'application/x-tar',
  file_size: 268_435_456,
  checksum: CHECKSUM,
  stored_size: 110_752_500,
  compression: { codec: 'zstd', level: 3, engine: 'native', frames: 64 },
  encryption: null,
  archive: { format: 'tar', members: 7848, stopped: null },
  created_at: CREATED,
  created_by: OTHER_ID,
  expires_at: null,
  verified_at: null,
  damage: null,
  download_url: `/backup/${BACKUP_ID}/download`,
} as const;

export const RECEIPT = { message: 'Upload successful', ...BACKUP };

export const BACKUP_PAGE = { backups: [BACKUP], prefixes: [], cursor: null };

export const MEMBER = {
  path: 'etc/hosts',
  type: 'file',
  size: 221,
  mode: '0644',
  uid: 0,
  gid: 0,
  mtime: '2026-11-20T12:00:00.000Z',
  link_target: null,
  offset: 1536,
  url: `/backup/${BACKUP_ID}/files/etc/hosts`,
} as const;

export const MEMBER_PAGE = { files: [MEMBER], prefixes: ['etc/ssl/'], cursor: null, stopped: null };

export const JOB = {
  job_id: 'nightly',
  task: 'upload',
  phase: 'receiving',
  current: 67_108_864,
  total: 268_435_456,
  percentage: 25,
  message: 'Receiving site.tar',
  timestamp: '2026-11-23T07:30:01.120Z',
  stored: 27_688_125,
  run_id: BACKUP_ID,
  backup_id: BACKUP_ID,
  token_id: OTHER_ID,
  started_at: '2026-11-23T07:30:00.000Z',
  ended_at: null,
  idle_since: null,
  expires_at: null,
} as const;

export const RUN = {
  run_id: BACKUP_ID,
  job_id: 'nightly',
  task: 'upload',
  phase: 'done',
  backup_id: BACKUP_ID,
  filename: 'site.tar',
  message: 'Stored site.tar',
  code: null,
  token_id: OTHER_ID,
  started_at: '2026-11-23T07:30:00.000Z',
  ended_at: '2026-11-23T07:30:09.000Z',
  expires_at: null,
} as const;

export const VERIFICATION = {
  backup_id: BACKUP_ID,
  job_id: `verify-${BACKUP_ID}`,
  ok: true,
  verified_at: '2026-11-24T03:17:00.000Z',
  damage: null,
  frames_checked: 64,
  broken_frames: 0,
};

export const LINK_REQUEST = { expires_in: 3600, filename: 'for-you.tar' };
export const LINK = {
  url: `${VAULT}/backup/${BACKUP_ID}/download?filename=for-you.tar&${SIGNED}`,
  expires_at: EXPIRES,
};

export const LATEST_LINK = {
  url: `${VAULT}/latest/web1/site.tar?filename=for-you.tar&${SIGNED}`,
  expires_at: EXPIRES,
};

export const UPLOAD_LINK_REQUEST = { name: 'web1/site.tar', max_bytes: 1_073_741_824, expires_in: 3600 };
export const UPLOAD_LINK = {
  url: `${VAULT}/backup/upload/web1/site.tar?job_id=nightly&link_id=${OTHER_ID}&max_bytes=1073741824&${SIGNED}`,
  tus_url: `${VAULT}/tus?name=web1%2Fsite.tar&job_id=nightly&link_id=${OTHER_ID}&max_bytes=1073741824&${SIGNED}`,
  watch_url: `wss://vault.example.org/ws/backup/nightly?${SIGNED}`,
  job_id: 'nightly',
  expires_at: EXPIRES,
};

export const WATCH_LINK_REQUEST = { expires_in: 3600 };
export const WATCH_LINK = { url: UPLOAD_LINK.watch_url, expires_at: EXPIRES };

export const UPLOAD_STATUS = {
  upload_id: BACKUP_ID,
  backup_id: BACKUP_ID,
  job_id: 'nightly',
  name: 'web1/site.tar',
  filename: 'site.tar',
  offset: 67_108_864,
  length: 268_435_456,
  phase: 'receiving',
  expires_at: '2026-11-29T07:30:00.000Z',
  receipt: null,
} as const;

const { receipt: _, ...UPLOAD_VIEW } = UPLOAD_STATUS;
export const OPEN_UPLOAD = { ...UPLOAD_VIEW, started_at: '2026-11-23T07:30:00.000Z', token_id: OTHER_ID } as const;

export const TOKEN_REQUEST = { name: 'web1', scopes: ['write' as const], expires_in: 31_536_000 };
export const TOKEN = {
  id: OTHER_ID,
  name: 'web1',
  scopes: ['write'],
  created_at: CREATED,
  expires_at: '2027-11-23T07:30:00.000Z',
};
export const NEW_TOKEN = { ...TOKEN, token: `cst_${OTHER_ID}_b3Vyc2VjcmV0b3Vyc2VjcmV0b3Vyc2VjcmV0b3Vyc2U` };

export const IMPORTED = {
  job_id: 'rows',
  dry_run: false,
  read: 1000,
  written: 999,
  refused: [{ index: 17, offset: 1802, reason: 'NOT NULL constraint failed: items.name' }],
};

export const REINDEXED = {
  receipts: 12,
  indexed: 12,
  refused: [],
  deletions_finished: 0,
  orphans: {
    data: 0,
    receipt: 0,
    index: 0,
    tmp: 1,
    unknown: 0,
    bytes: 5_242_880,
    keys: ['tmp/01JC8Z5V3M9QK2T7W4X6Y8B0CD/0'],
    swept: 0,
  },
};

export const HEALTH = { status: 'ok', version: '0.1.0' } as const;

export const CAPABILITIES = {
  max_file_size: 10_737_418_240,
  max_request_bytes: 104_857_600,
  allowed_suffixes: ['.tar', '.tar.gz', '.json'],
  chunk_sizes: { frame_bytes: 4_194_304, part_bytes: 8_388_608 },
  codecs: ['zstd', 'none'],
  formats: ['zst', 'gz'],
  encryption: { format: 'age' as const, by_default: false },
  resumable: { tus: '1.0.0' as const, draft: false, expires_in: 518_400 },
  engine: 'native' as const,
  highest_level: 22,
  default_level: 3,
  limits: {
    json_body_bytes: 65_536,
    cpu_seconds: 300,
    upload_idle_seconds: 60,
    download_idle_seconds: 60,
    min_rate: 1024,
  },
  memory: {
    engine_bytes: 23_102_464,
    unfinished_bytes: 41_943_040,
    parts_at_once: 4,
    parts_at_once_per_upload: 2,
    decoder_window_bytes: 37_748_736,
    import_batch_bytes: 12_582_912,
    decode_bytes: 12_582_912,
    decoding_at_once: 3,
    slow_readers_bytes: 37_748_736,
    slow_reader_bytes: 2_228_224,
    stopped_reader_bytes: 131_072,
    export_pages_at_once: 12,
    longest_wait_seconds: 10,
  },
};

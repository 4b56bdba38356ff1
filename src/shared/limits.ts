/**
 * Every number that bounds the vault: its unit in its name, its reason beside it. Derived numbers are expressions.
 */

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** Content of one zstd frame of the stored form: a member costs a frame, a frame costs about 6 ms (docs/decisions). */
export const FRAME_BYTES = 4 * MIB;

/** R2 takes parts of at least 5 MiB, all equal but the last (R2 limits). */
export const PART_BYTES = 5 * MIB;
/** R2 takes 10,000 parts an object; the rest is room for a size that was announced too small. */
export const PARTS_PER_OBJECT = 9_900;
/** Numbers that R2 takes for the parts of one object, also with gaps between them. */
export const R2_PART_NUMBERS = 10_000;
/** Parts of objects that would have too many of {@link PART_BYTES}. */
export const MAX_PART_BYTES = 8 * MIB;
/** Largest upload that fits into parts of {@link MAX_PART_BYTES}. */
export const MAX_OBJECT_BYTES = MAX_PART_BYTES * PARTS_PER_OBJECT;

/** Size of the parts of an upload of at most `maxBytes`. */
export function partBytesFor(maxBytes: number): number {
  return maxBytes <= PART_BYTES * PARTS_PER_OBJECT ? PART_BYTES : MAX_PART_BYTES;
}

/** Default of `MAX_FILE_SIZE`. */
export const DEFAULT_MAX_FILE_BYTES = 10 * GIB;

/** Default of `CPU_LIMIT`: what the platform lets one request compute (Workers limits). */
export const DEFAULT_CPU_LIMIT_MS = 300_000;
export const MAX_CPU_LIMIT_MS = 60 * 60_000;

/** Bytes of a request read at once, at most: a read from a fast sender returns some 50 KiB, and each idle sender holds a buffer. */
export const UPLOAD_READ_BYTES = 128 * KIB;

/** Default of `UPLOAD_IDLE` and `DOWNLOAD_IDLE`, and the most they may be: a peer that moves nothing holds a connection. */
export const DEFAULT_PEER_IDLE_MS = 60_000;
export const MAX_PEER_IDLE_MS = 60 * 60_000;
/** Default of `MIN_RATE`, in bytes a second: a peer below it trickles to keep a connection, whatever it says. */
export const DEFAULT_MIN_RATE = KIB;

/** How often a request that waits for memory of the isolate asks again; it needs I/O of its own meanwhile (platform). */
export const MEMORY_POLL_MS = 10;
/** A share or an account whose request gave no sign of life for so long belongs to a request that the runtime ended. */
export const MEMORY_LEASE_MS = 60_000;
/** How long a request waits for memory before it is rejected with 503, and after how long its client should try again. */
export const BUSY_WAIT_MS = 10_000;
export const BUSY_RETRY_SECONDS = 5;
/** Frames of one isolate that are read and decoded at once. */
export const TURNS_PER_ISOLATE = 3;
/** Parts on their way to R2: of one isolate, and of one upload. A third part in flight made no upload faster. */
export const FLIGHTS_PER_ISOLATE = 4;
export const FLIGHTS_PER_UPLOAD = 2;
/** An upload under way is not rejected because the storage is slow for a while; each storage call has its own deadline. */
export const FLIGHT_WAIT_MS = 60_000;
/** Operations of less than 1 MiB at once. */
export const SMALL_OPERATIONS = 6;
/** The first frame of a download counts as so many of them: two downloads begin at once, and go on under turns. */
export const FIRST_FRAME_OPERATIONS = 3;
/** Windows of streaming decoders of one isolate: zstd's default is 2 MiB, the largest is 8 MiB. */
export const WINDOW_BYTES = 32 * MIB;
/** A frame that holds less is not worth a share: archives may have hundreds of thousands of them. */
export const SMALL_WINDOW_BYTES = 256 * KIB;
/** Unfinished bytes of all uploads (frames and parts that are not full) above which the most idle one puts its own aside. */
export const REST_BYTES = 40 * MIB;
/** Above that limit and this reserve no bytes are read from senders until some were stored or put aside. */
export const REST_RESERVE_BYTES = 8 * MIB;
/** A transfer that could put nothing aside is asked again after so long. */
export const REST_ASK_AGAIN_MS = 1_000;
/** How often an upload looks whether it is the one that has to put its bytes aside. */
export const REST_CHECK_MS = 100;
/** Fewer unfinished bytes than this are not worth a storage call. */
export const REST_WORTH_BYTES = 64 * KIB;

/** What a reader of decoded content is given at once, in a copy, so that the frame behind it can be dropped at any time. */
export const READER_CHUNK_BYTES = 256 * KIB;
/** A chunk that is pending for so long shows a slow reader: a fast one takes it in 0 to 2 ms, behind a proxy in 90. */
export const READER_SLOW_MS = 150;
/**
 * Decoded bytes that all slow readers of one isolate keep of the frames that are dropped, and the most and the least for
 * one of them. Reading a frame costs ten times what decoding it does, so keeping less has slow readers keep the storage
 * busy: an upload beside 24 readers at 200 KB/s took 15 s with 256 KiB each, 1.5 s with 1 MiB, and 1.0 s with 2 MiB.
 */
export const READERS_KEPT_BYTES = 36 * MIB;
export const MOST_KEPT_BYTES = 2 * MIB;
export const LEAST_KEPT_BYTES = 256 * KIB;
/** A chunk that is pending for so long shows a reader that stopped: nothing is kept for it but the chunk. */
export const READER_STOPPED_MS = 3_000;
/** A reader that waits longer for its next turn closes the storage read that it has open, and what that holds. */
export const TURN_PATIENCE_MS = 50;
/** Content before an offset that is worth decoding again to go on from there; decoding does 400 MiB and more a second. */
export const REDECODED_BYTES = 16 * MIB;

/** Default of `MAX_TRANSFERS_PER_TOKEN`: more than any one client uses. */
export const DEFAULT_MAX_TRANSFERS = 64;
/** Default of `MAX_SOCKETS_PER_TOKEN`. */
export const DEFAULT_MAX_SOCKETS = 1_000;

/** Largest window a decoder accepts: RFC 9659, section 3, and what a 128 MB isolate can hold. */
export const ZSTD_WINDOW_BYTES = 8 * MIB;

/** Largest header block of one multipart part, and largest option field; both are held in memory. */
export const FORM_HEADER_BYTES = 16 * KIB;
export const FORM_FIELD_BYTES = 8 * KIB;
/** What may stand before the first part of a form and after the last: read, dropped, and never much. */
export const FORM_MARGIN_BYTES = 64 * KIB;
/** Parts of one form: options are few, the rest is somebody's mistake. */
export const FORM_PARTS = 100;

/** Largest body of a JSON route; it is held in memory. */
export const JSON_BODY_BYTES = 64 * KIB;
/** Read at once of a small body, and of one that is dropped: 200 of them at once hold 3 MiB. */
export const REFUSED_READ_BYTES = 16 * KIB;
/** Bodies of strangers that one isolate reads and drops at once; further ones are left unread. */
export const STRANGERS_DRAINED = 64;

/** After a refusal the rest of the body is read and dropped, so that the answer reaches the client: how much, how long. */
export const DRAIN_BYTES = 256 * MIB;
export const DRAIN_MS = 10_000;

/** The period of the rate limit on wrong credentials; `wrangler.toml` has it too, with how many fit into it. */
export const WRONG_CREDENTIALS_PERIOD_SECONDS = 60;

/** RFC 8187 names are percent-encoded; file systems take 255 bytes. */
export const FILENAME_BYTES = 255;
/** Names of backups. A URL of 512 bytes stays under 2 KiB when each byte is percent-encoded. */
export const NAME_BYTES = 512;
export const NAME_SEGMENTS = 16;

/** Rows that one page of a listing walks over, at most, in search of those that it lists. */
export const LISTING_WALK_ROWS = 10_000;
/** Backups below a prefix that are sorted by age for each page; more are found by walking over all, the newest first. */
export const LISTING_SORTED_ROWS = 2_000;
/** Rows below one folded prefix that a page looks at, at least, for one that it may list. */
export const LISTING_PREFIX_ROWS = 10;

/** At most four progress messages a second, a job. */
export const PROGRESS_INTERVAL_MS = 250;
/** A run reports to its job that it lives, also when no byte arrives; by the answer it learns that it was cancelled. */
export const HEARTBEAT_MS = 5_000;
/**
 * A job that changes is stored so often: an object that is evicted while a run is slow shows no state older than that,
 * because heartbeats store what is not stored yet.
 */
export const JOB_STORED_MS = 5_000;
/** A job that heard nothing for so long, twice in a row, takes its upload for dead and cleans up. */
export const JOB_LEASE_MS = 30_000;
/** Leases without a sign of life after which that is so. */
export const JOB_MISSED_LEASES = 2;
/** One call to a job's room: past this it counts as lost, so that no upload waits for its own progress. */
export const JOB_CALL_MS = 5_000;
/** A row of a run that ended is waited for so long before the run gets its answer; the alarm writes what is left. */
export const JOB_ROW_MS = 2_000;
/** `Retry-After` of a job whose run is at work. */
export const JOB_RETRY_AFTER_SECONDS = 5;
/**
 * How long a resumable upload without an open request keeps its job from other uploads, and from those of its own token:
 * a sender that died comes back at once, and must not wait for what it cannot end.
 */
export const IDLE_JOB_HELD_MS = 15 * 60_000;
export const IDLE_JOB_HELD_SAME_TOKEN_MS = 5_000;
/** Characters of a progress message or detail; calls travel in a header, as ASCII of up to 7 bytes a character. */
export const JOB_TEXT_CHARS = 500;
/** How long final states are kept. */
export const JOB_KEPT_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * How long the marker of a deletion is kept, and the id in the catalogue: longer than anything lasts that could bring the
 * backup back, of which D1 Time Travel reaches farthest (30 days).
 */
export const DELETION_KEPT_MS = 90 * 24 * 60 * 60 * 1000;
/** The most that `expires_in` and `expires_at` of an upload may be ahead: a century, within the years of four digits. */
export const BACKUP_MAX_TTL_SECONDS = 100 * 365 * 24 * 60 * 60;
/** Expired backups that one scheduled run deletes: each takes a request to the storage (Workers limits: 10,000). */
export const EXPIRED_PER_RUN = 5_000;
/** Objects without a backup are swept at this age: longer than any upload lasts ({@link MAX_UPLOAD_TTL_MS}). */
export const ORPHAN_KEPT_MS = 7 * 24 * 60 * 60 * 1000;
/** Keys of orphans that an answer lists. */
export const LISTED_ORPHANS = 100;
/** Backups of which `reindex` asks whether their upload is still open, each a request of its own (Workers limits: 10,000). */
export const CHECKED_ORPHANS = 500;

/**
 * Uploads in pieces: how long one may take, at most and by default. R2 aborts a multipart upload 7 days after it was
 * opened, which is when the first part is full.
 */
export const MAX_UPLOAD_TTL_MS = 6 * 24 * 60 * 60 * 1000;
/** How long an ended one is remembered, so that a sender who lost the last answer learns of the end. */
export const SESSION_KEPT_MS = 7 * 24 * 60 * 60 * 1000;
/** What has come of a piece is made durable so often: what a crash may cost a sender of time. */
export const CHECKPOINT_MS = 5_000;
/** Between two pieces the session keeps its writer so long, and its share of the isolate: senders need a round trip. */
export const WRITER_RESTS_MS = 2_000;
/** At the end of a piece, bytes of parts on their way are kept rather than waited for, up to so many. */
export const KEPT_RATHER_BYTES = PART_BYTES / 2;
/** The answer to the last piece waits for the receipt where so much content, or less, is to be read back. */
export const FINISH_AT_ONCE_BYTES = 32 * MIB;
/**
 * What is asked of the storage at once where a whole object is read for nobody but the vault. The local one takes all of it
 * into memory as fast as it can, and nobody else has a turn until it has: of 1 GiB that were 9 s, of this half a second
 * (November 2026).
 */
export const WHOLE_READ_SPAN_BYTES = 32 * MIB;
/** Bytes that are worked on before others of the isolate have a turn: 50 ms. */
export const TURN_BYTES = 16 * MIB;
/** Work of an upload session that failed is tried again after so long, and twice as long each time, up to: */
export const SESSION_RETRY_MS = 5_000;
export const SESSION_LONGEST_RETRY_MS = 10 * 60_000;
export const LINK_TTL_SECONDS = 3_600;
export const LINK_MAX_TTL_SECONDS = 7 * 24 * 60 * 60;

export const PAGE_ROWS = 100;
export const MAX_PAGE_ROWS = 1_000;
/** A page of open uploads asks their objects where they are: so many at a time. */
export const UPLOADS_ASKED_AT_ONCE = 16;
/** Rows that an export reads at once: under 2 MB of text, and 1,000 queries a request (D1 limits) reach a million rows. */
export const EXPORT_PAGE_ROWS = 1_000;
/**
 * What the rows of a page may take as text, at worst (a byte may become six): rows of one kilobyte still come by the
 * hundred, and of one megabyte one at a time.
 */
export const EXPORT_PAGE_BYTES = 2 * MIB;
/** Pages of one isolate that wait to be taken: of {@link EXPORT_PAGE_BYTES} at most, mostly a quarter of it. */
export const EXPORT_PAGES = 12;
/** A value that is too long to be read at once is read in slices, as hex of twice their length. */
export const EXPORT_SLICE_BYTES = 512 * KIB;
/** What goes out at once of an export, and what is made text at once; of BLOBs, which base64 takes by three bytes. */
export const EXPORT_PIECE_BYTES = 3 * 64 * KIB;
/** Longest text or BLOB, and largest row (D1 limits). */
export const D1_VALUE_BYTES = 2_000_000;
/** Longest statement (D1 limits). */
export const D1_SQL_BYTES = 100_000;
/** Integers that SQLite holds: 64 bits with a sign. */
export const MIN_INTEGER = -(2n ** 63n);
export const MAX_INTEGER = 2n ** 63n - 1n;
/** Rows that go into a table as one JSON text; half of {@link D1_VALUE_BYTES}, since SQLite makes another form of it. */
export const INSERT_JSON_BYTES = D1_VALUE_BYTES / 2;
/** What one transaction takes: of large rows fewer go together, since three such texts may be in flight, each held twice. */
export const INSERT_BATCH_BYTES = 2 * INSERT_JSON_BYTES;

/** Data of an extended header (a long name, pax records) that is held in memory. Of a longer one, a record at a time. */
export const TAR_EXTENDED_BYTES = MIB;
/** The length and the key of a pax record; programs write 50 bytes at most. */
export const TAR_RECORD_HEAD_BYTES = KIB;
/** Map of a sparse tar member, as text, and its segments; it is held in memory. */
export const SPARSE_MAP_BYTES = MIB;
export const SPARSE_SEGMENTS = 65_536;
/** Zeros that stand for a hole, in one piece. */
export const ZERO_PIECE_BYTES = 64 * KIB;

/**
 * The members' index (archive/index-*). What is gathered before it is sorted and, in archives of many members, put
 * aside as a run; at about 90 bytes a member that is 23,000.
 */
export const INDEX_RUN_BYTES = 2 * MIB;
/** Runs of one index: some 5 million members. Past them the index ends, and says so. */
export const INDEX_MAX_RUNS = 240;
/** What merging the runs may hold of them: two chunks of each, no larger than one read is worth. */
export const INDEX_MERGE_BYTES = 12 * MIB;
export const INDEX_CHUNK_BYTES = 256 * KIB;
/** Reads of runs at once: a Worker has six connections (Workers limits). */
export const INDEX_READS_IN_FLIGHT = 6;
/** Path and link target of one member together. */
export const INDEX_NAME_BYTES = 16 * KIB;
/**
 * Path of a tar member, and target of a link, of which both count together. Longer ones are cut: Linux takes 4 KiB, so no
 * program can extract them.
 */
export const TAR_PATH_BYTES = INDEX_NAME_BYTES;
export const TAR_LINK_BYTES = INDEX_NAME_BYTES / 2;
/** A block before compression: what a lookup reads and decodes. Of 64 members at least, so that long paths make no long directory. */
export const INDEX_BLOCK_BYTES = 32 * KIB;
export const INDEX_BLOCK_MEMBERS = 64;
/** A directory that grows so long makes the blocks twice as large, and again, up to this many times: 4 MiB. */
export const INDEX_DIRECTORY_STEP_BYTES = MIB;
export const INDEX_BLOCK_DOUBLINGS = 7;
/** What a reader believes of a block and of the root (the directory stays under 9 MiB by the rule above). */
export const INDEX_LARGEST_BLOCK_BYTES = (INDEX_BLOCK_BYTES << INDEX_BLOCK_DOUBLINGS) + 2 * INDEX_NAME_BYTES;
export const INDEX_LARGEST_ROOT_BYTES = 16 * MIB;
/** Points of one layer that are kept: 4 MiB in memory; of more, every second, third… */
export const INDEX_LAYER_POINTS = 262_144;
/** The end of an index is read first: it holds the root (of five million members, measured), and of a small index all. */
export const INDEX_TAIL_BYTES = 128 * KIB;
/** The block read last stays in memory, unless it is larger: lookups often come in the order of the paths. */
export const INDEX_HELD_BLOCK_BYTES = 128 * KIB;
/** Blocks that one page may read: a page ends early rather than to read on for what it lists. */
export const INDEX_PAGE_BLOCKS = 64;

/** Content between two points to seek that are kept of a foreign zstd file: a member costs no less to decode anyway. */
export const SEEK_POINT_BYTES = MIB;
/** Points kept of one file, 16 bytes each; beyond, the distance between them doubles. */
export const MAX_SEEK_POINTS = 65_536;
/** Largest seek table that is read; parsed it takes seven times as much. Our own form reaches 340 GiB with it. */
export const MAX_SEEK_TABLE_BYTES = MIB;

/**
 * Read at once, and held, where stored bytes go out as they are: small, since many slow clients may download at once, and
 * still faster than the platform's own stream without reading ahead (locally, November 2026, times its speed: 1.1 to 1.7
 * with 128 KiB, 1.3 to 1.6 with 256, 1.0 to 1.3 with 64).
 */
export const STORED_READ_BYTES = 128 * KIB;

/** One call of the storage, of a database: past this it counts as failed. D1 itself ends a batch after 30 s (D1 limits). */
export const STORAGE_CALL_MS = 30_000;
export const DATABASE_CALL_MS = 40_000;
/** One call of an upload object without a body: it may roll back what was stored, which takes several storage calls. */
export const UPLOAD_CALL_MS = 150_000;

/** A storage read that gives nothing for so long counts as broken, and is taken up again. Its reader may be gone, unseen. */
export const STORAGE_STALL_MS = 60_000;

/** Read at once where the stored bytes are decoded. */
export const DECODE_READ_BYTES = MIB;

/** Recipients of one encrypted backup: people and a spare key or two; each costs two X25519 operations and 98 bytes. */
export const AGE_RECIPIENTS = 20;
/** Header of an age file that is read; it is held in memory. Six hundred X25519 recipients, or forty of post-quantum keys. */
export const AGE_HEADER_BYTES = 64 * KIB;
/** Chunks of an age file that go out as one piece: a piece costs its reader more than a byte does. */
export const AGE_PIECE_CHUNKS = 4;

/**
 * How far an archive within a compressed upload is decoded for its index; what lies behind is stored all the same. At
 * 400 to 1,000 MiB/s this is about a minute of the five that a request may compute (Workers limits), and so are the
 * other bounds of the scan.
 */
export const SCAN_CONTENT_BYTES = 32 * GIB;
/** And no farther than this many times what came in, beyond the first GiB: a bomb ends the index. */
export const SCAN_EXPANSION = 256;
export const SCAN_FREE_BYTES = GIB;
/**
 * zstd frames or gzip members, also of those that hold nothing: 0.04 ms each, and 0.08 ms a frame of unknown size
 * (November 2026). bgzip makes one of 64 KiB: 32 GiB have so many.
 */
export const SCAN_FRAMES = 524_288;
/** Blocks of zstd and whatever else has a header, at 0.4 µs and the engine's share: they need hold nothing either. */
export const SCAN_STEPS = 20_000_000;
/**
 * Compressed bytes that are decoded before others of the isolate are looked at, where they turned out to be much work:
 * empty frames of 9 bytes then take half a second.
 */
export const SCAN_SLICE_BYTES = 64 * KIB;
/** What is much: so much content, or so many frames. */
export const SCAN_YIELD_BYTES = 32 * MIB;
export const SCAN_YIELD_FRAMES = 256;
/** Larger frames are decoded in groups, so that decoding along holds a window and little more. */
export const SCAN_ONE_SHOT_BYTES = FRAME_BYTES;

/** Batches in work at once: half of the six connections that a request has (Workers limits), the rest is for its source. */
export const BATCHES_IN_WORK = 3;

/**
 * Rows of an import that are written by one statement, and their JSON text; a larger row goes alone. One batch is written
 * after the other, because rows of a document depend on each other. Three hundred take a third of the round trips.
 */
export const IMPORT_BATCH_ROWS = 300;
export const IMPORT_BATCH_BYTES = INSERT_JSON_BYTES;
/**
 * Rows that an import holds as JSON text: of a dry run all, since it is one transaction; else those that refer to rows
 * which have not come yet. A statement takes them as one text more. And what all imports of an isolate hold.
 */
export const HELD_ROWS_BYTES = 6 * MIB;
export const HELD_ROWS_BYTES_PER_ISOLATE = 2 * HELD_ROWS_BYTES;
/** What is claimed of it at once. */
export const HELD_ROWS_STEP_BYTES = 512 * KIB;
/** JSON text of one row: a row of D1 ({@link D1_VALUE_BYTES}) that is all BLOB takes a third more, in base64. */
export const IMPORT_ROW_BYTES = 3 * MIB;
/**
 * Text of the batches that are written, of all imports of an isolate and of one: each batch is held as its rows and as the
 * text of its statement, and a row of {@link IMPORT_ROW_BYTES} is a batch of its own.
 */
export const WRITTEN_BATCH_BYTES = 12 * MIB;
export const WRITTEN_BATCH_BYTES_PER_IMPORT = BATCHES_IN_WORK * IMPORT_ROW_BYTES;
/** Arrays and objects of a row within each other: a row is flat but for its BLOBs, the rest is refused row by row. */
export const IMPORT_DEPTH = 100;
/**
 * Values of one item of JSON, itself and those within it, up to which it is looked into: a table of D1 has 100 columns
 * (D1 limits), and a BLOB is two values. Millions of small ones fit into {@link IMPORT_ROW_BYTES}, and each would be an
 * object in memory.
 */
export const JSON_ITEM_VALUES = 1_000;
/** Of a name that came from a client, in what it is told: a key may be as long as a row. */
export const SHOWN_NAME_CHARS = 100;
/** Rows that an import may refuse and go on: by default, and at most, since all of them are told. */
export const IMPORT_ERRORS = 100;
export const MAX_IMPORT_ERRORS = 1_000;
/** Default of `MAX_IMPORT_QUERIES`: what D1 takes of one request (D1 limits). */
export const DEFAULT_IMPORT_QUERIES = 1_000;

/** Members of a directory's tar that go out in one pass over the archive: 0.9 KiB each (measured, November 2026). */
export const DIRECTORY_BATCH_MEMBERS = 5_000;

/** What an isolate keeps of indexes (128 KiB or less each, mostly) and of seek tables that it has read. */
export const KNOWN_INDEX_BYTES = 3 * MIB;
export const KNOWN_POINTS_BYTES = MIB;

/** Of the name that a member is offered under: file systems take 255 bytes, clients some KiB of headers. */
export const MEMBER_NAME_CHARS = 255;

/** Content that gzip is given at once, 0.7 ms of computing: its output is in memory until it is taken, and others wait. */
export const GZIP_PIECE_BYTES = 32 * KIB;
/** gzip's own default. */
export const GZIP_LEVEL = 6;
/** What a turn holds: compressed bytes that are read, and read ahead; one frame of them; its content. */
export const DECODE_BYTES = 3 * FRAME_BYTES;

/** zstd's own default. */
export const DEFAULT_LEVEL = 3;

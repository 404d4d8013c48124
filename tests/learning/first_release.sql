-- What the first release made and a first project filled: its tables, and rows in each of them.
CREATE TABLE projects (
	id INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	external_id INTEGER NOT NULL, 
	label_config VARCHAR NOT NULL, 
	connection JSON NOT NULL, 
	extra_params JSON NOT NULL, 
	revision INTEGER NOT NULL, 
	due VARCHAR, 
	due_reason VARCHAR, 
	due_model INTEGER, 
	retry_at DATETIME, 
	failures INTEGER NOT NULL, 
	notice VARCHAR, 
	current_round_id INTEGER, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO projects VALUES(1,'4.1700000000',4,'<View><Labels name="ner" toName="text"><Label value="PER"/></Labels><Text name="text" value="$text"/></View>','{"hostname": "http://localhost:8080", "access_token": "abc"}','{"round_size": 3}',7,NULL,NULL,NULL,NULL,2,'it''s “odd”',3,'2026-03-01 08:00:00.000000');
INSERT INTO projects VALUES(2,'5.1700000001',5,'<View/>','{}','{}',0,'fit','20 new annotations',NULL,'2026-03-02 09:00:00.000000',0,NULL,NULL,'2026-03-02 08:00:00.000000');
CREATE TABLE tasks (
	project_id INTEGER NOT NULL, 
	id INTEGER NOT NULL, 
	data JSON NOT NULL, 
	created_at VARCHAR NOT NULL, 
	draw DOUBLE NOT NULL, 
	revision INTEGER NOT NULL, 
	PRIMARY KEY (project_id, id), 
	FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO tasks VALUES(1,11,'{"text": "Zo\u00eb lives in Oslo \ud83d\ude00"}','2026-03-01T08:00:00Z',0.25,11);
INSERT INTO tasks VALUES(1,12,'{"text": "It rains"}','2026-03-01T08:00:00Z',0.050000000000000002775,12);
CREATE TABLE annotations (
	project_id INTEGER NOT NULL, 
	id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	result JSON NOT NULL, 
	updated_at VARCHAR NOT NULL, 
	cancelled BOOLEAN NOT NULL, 
	ground_truth BOOLEAN NOT NULL, 
	completed_by INTEGER, 
	deleted BOOLEAN NOT NULL, 
	revision INTEGER NOT NULL, 
	PRIMARY KEY (project_id, id), 
	FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO annotations VALUES(1,21,11,'[{"from_name": "ner", "to_name": "text", "type": "labels", "value": {"start": 0, "end": 3, "labels": ["PER"], "text": "Zo\u00eb"}}]','2026-03-01T09:00:00Z',0,0,1,0,3);
INSERT INTO annotations VALUES(1,22,12,'[]','2026-03-01T09:01:00Z',0,1,NULL,0,4);
INSERT INTO annotations VALUES(1,23,12,'[]','2026-03-01T09:02:00Z',1,0,NULL,1,5);
CREATE TABLE rounds (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	version VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	progress JSON NOT NULL, 
	settings JSON NOT NULL, 
	revision INTEGER NOT NULL, 
	model_round_id INTEGER, 
	metrics JSON NOT NULL, 
	problems JSON NOT NULL, 
	error VARCHAR, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO rounds VALUES(1,1,1,'v1-20260301-110000','cold start','done','3 new annotations','host:1','2026-03-01 11:00:00.000000','{"step": "fit"}','{"tagger": "crf"}',1,NULL,'{"evaluation": {"f1": 0.51}}','[]',NULL,'2026-03-01 11:00:00.000000','2026-03-01 11:30:00.000000');
INSERT INTO rounds VALUES(2,1,2,'v2-20260301-120000','fit','superseded','3 new annotations','host:1','2026-03-01 12:00:00.000000','{"step": "fit"}','{"tagger": "crf"}',2,2,'{"evaluation": {"f1": 0.52}}','[]',NULL,'2026-03-01 12:00:00.000000','2026-03-01 12:30:00.000000');
INSERT INTO rounds VALUES(3,1,3,'v3-20260301-130000','fit','done','3 new annotations','host:1','2026-03-01 13:00:00.000000','{"step": "fit"}','{"tagger": "crf"}',3,3,'{"evaluation": {"f1": 0.53}}','["task 12: overlap"]',NULL,'2026-03-01 13:00:00.000000','2026-03-01 13:30:00.000000');
INSERT INTO rounds VALUES(4,1,4,'v4-20260301-140000','fit','failed','3 new annotations','host:1','2026-03-01 14:00:00.000000','{"step": "fit"}','{"tagger": "crf"}',4,NULL,'{"evaluation": {"f1": 0.54}}','[]','no memory','2026-03-01 14:00:00.000000','2026-03-01 14:30:00.000000');
INSERT INTO rounds VALUES(5,1,5,'v5-20260301-150000','rank','publishing','3 new annotations','host:1','2026-03-01 15:00:00.000000','{"step": "fit"}','{"tagger": "crf"}',5,3,'{"evaluation": {"f1": 0.55}}','[]',NULL,'2026-03-01 15:00:00.000000','2026-03-01 15:30:00.000000');
INSERT INTO rounds VALUES(6,1,6,'v6-20260301-160000','fit','running','3 new annotations','host:1','2026-03-01 16:00:00.000000','{"step": "fit"}','{"tagger": "crf"}',6,NULL,'{"evaluation": {"f1": 0.56}}','[]',NULL,'2026-03-01 16:00:00.000000',NULL);
CREATE TABLE predictions (
	round_id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	text_hash VARCHAR NOT NULL, 
	spans JSON NOT NULL, 
	position INTEGER, 
	priority DOUBLE, 
	holdout BOOLEAN NOT NULL, 
	PRIMARY KEY (round_id, task_id), 
	FOREIGN KEY(round_id) REFERENCES rounds (id)
);
INSERT INTO predictions VALUES(3,11,'0123456789abcdef','[[0, 3, "PER", 0.9]]',0,1.5,0);
INSERT INTO predictions VALUES(3,12,'fedcba9876543210','[]',NULL,NULL,1);
CREATE INDEX annotations_by_task ON annotations (project_id, task_id);
CREATE UNIQUE INDEX rounds_by_project ON rounds (project_id, number);

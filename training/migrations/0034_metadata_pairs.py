from django.db import migrations, models
from django.db.models import CASCADE

from training.metadata_pair import pairs_of

JOBS = 2000  # at a time


def index_what_is_there(apps, schema_editor):
    pair = apps.get_model("training", "MetadataPair")
    jobs = apps.get_model("training", "TrainingJob").objects.exclude(metadata=None)
    ids = list(jobs.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), JOBS):
        some = jobs.filter(pk__in=ids[start : start + JOBS]).only("project", "created_at", "metadata")
        pair.objects.bulk_create(pairs_of(some, pair), batch_size=JOBS)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_audit"), ("training", "0033_job_starts")]
    operations = [
        migrations.CreateModel(
            name="MetadataPair",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField()),
                (
                    "job",
                    models.ForeignKey(
                        "training.TrainingJob", on_delete=CASCADE, related_name="metadata_pairs", db_index=False
                    ),
                ),
                ("project", models.ForeignKey("accounts.Project", on_delete=CASCADE, related_name="+", db_index=False)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["project", "digest", "-created_at", "-id"], name="metadata_list"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("job", "digest"), name="one_row_a_metadata_pair"),
                ],
            },
        ),
        migrations.RunPython(index_what_is_there, migrations.RunPython.noop),
    ]

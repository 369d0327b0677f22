from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0034_metadata_pairs")]
    operations = [
        migrations.AddIndex(
            "trainingjob", models.Index(fields=["project", "base_model", "-created_at"], name="job_bases")
        ),
        migrations.AddIndex("checkpoint", models.Index(fields=["project", "size_bytes"], name="checkpoint_sizes")),
    ]

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0032_indexes_for_many_rows")]
    operations = [
        migrations.AddIndex("trainingjob", models.Index(fields=["project", "started_at"], name="job_starts")),
    ]
